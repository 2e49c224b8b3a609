"""Which tables a table, view or query of MySQL reads: those that its text names, and those of its views."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from headrace.sources.mysql_column import quoted, text_literal
from headrace.sources.mysql_connection import MysqlConnection

Place = tuple[str, str]
"""A schema, and a name in it."""

_QUOTED: Final = re.compile(r"`((?:[^`]|``)+)`")
_BARE: Final = re.compile(r"[\w$]+")
_TABLES: Final = frozenset({"BASE TABLE", "SYSTEM VERSIONED"})
# Only questions for one schema, or for one table of it, spare MariaDB a look at every table of the server.
_SCHEMAS: Final = "SELECT schema_name, schema_name = DATABASE() FROM information_schema.schemata"
_NAMES: Final = "SELECT table_name FROM information_schema.tables WHERE table_schema = {schema}"
_TABLE: Final = """
(SELECT table_schema, table_name, table_type, engine, create_time
FROM information_schema.tables WHERE table_schema = {schema} AND table_name = {name})
"""
_VIEW: Final = """
(SELECT view_definition FROM information_schema.views WHERE table_schema = {schema} AND table_name = {name})
"""


@dataclass(frozen=True, slots=True)
class ReadTable:
    """A table that is read; `created` is when its definition was last made, as the server says."""

    place: Place
    engine: str
    created: str


def in_from(place: Place) -> str:
    """How FROM names a table."""
    return ".".join(quoted(part) for part in place)


def read_tables(connection: MysqlConnection, source: str) -> tuple[ReadTable, ...]:
    """By place, the tables that what FROM names reads.

    Any word of a text may name a table: that takes one too many at times, and misses none, whatever the
    server's optimizer makes of the query and of the rows that are there now. A view that may be read and
    not shown hides its tables.
    """
    found: dict[Place, ReadTable] = {}
    looked_at: set[Place] = set()
    texts = [source]
    while texts:
        named = _named(connection, texts) - looked_at
        looked_at |= named
        views = []
        for schema, name, kind, engine, created in _ask_of_each(connection, _TABLE, named):
            if kind == "VIEW":
                views.append((schema, name))
            elif kind in _TABLES and engine:
                found[schema, name] = ReadTable((schema, name), engine.lower(), created or "")
        texts = [text for (text,) in _ask_of_each(connection, _VIEW, views) if text]
    return tuple(found[place] for place in sorted(found))


def _named(connection: MysqlConnection, texts: Collection[str]) -> set[Place]:
    """The tables and views that have a name among the words of these texts."""
    words = {word.casefold() for text in texts for word in _words(text)}
    schemas = [
        schema for schema, is_ours in connection.ask(_SCHEMAS) if is_ours == "1" or schema.casefold() in words
    ]
    return {
        (schema, name)
        for schema in schemas
        for (name,) in connection.ask(_NAMES.format(schema=text_literal(schema)))
        if name.casefold() in words
    }


def _words(text: str) -> Iterator[str]:
    """Those within backticks too: one may stand in a text of the query, and seem to begin a name."""
    yield from (name.replace("``", "`") for name in _QUOTED.findall(text))
    yield from _BARE.findall(text)


def _ask_of_each(
    connection: MysqlConnection, question: str, places: Collection[Place]
) -> Iterator[tuple[str, ...]]:
    questions = [
        question.format(schema=text_literal(schema), name=text_literal(name))
        for schema, name in sorted(places)
    ]
    yield from connection.ask(" UNION ALL ".join(questions)) if questions else ()
