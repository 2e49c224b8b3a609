"""What MySQL's catalogue says of relations, in a number of questions that does not grow with the columns."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headrace.errors import ConfigurationError
from headrace.ports import ForeignKey, Relation, TableFacts, TableListing
from headrace.sources.drift import missing_table, query_text
from headrace.sources.fingerprint import fingerprint
from headrace.sources.mysql_column import Kind, MysqlColumn, text_literal
from headrace.sources.mysql_connection import MysqlConnection
from headrace.sources.mysql_dependence import Place, in_from
from headrace.sources.mysql_query import Shape, query_columns, shape_of
from headrace.sources.mysql_type import KINDS, column_facts, longest_text
from headrace.sources.suggestion import suggest_cursor

_JSON_CHECK: Final = re.compile(r"json_valid\(`(.+)`\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class MysqlRelation:
    """A relation that exists: how FROM names it, and its columns.

    Attributes:
        shape: how the protocol describes all its columns.
        place: of a table that is neither a view nor a query.
        engines: of the tables that it reads, or may read.
    """

    source: str
    facts: TableFacts
    columns: tuple[MysqlColumn, ...]
    shape: Shape
    engines: frozenset[str]
    place: Place | None = None

    def column(self, name: str) -> MysqlColumn:
        return next(c for c in self.columns if c.facts.name == name)


_UNLESS_HIDDEN: Final = (
    "; if it does, GRANT SELECT on it to the app's user: the server hides what a user has no right to"
)
_FIND = """
SELECT table_schema, table_name, table_type, engine
FROM information_schema.tables WHERE (table_schema, table_name) IN ({places})
"""
_LIST = """
SELECT table_name, table_type, engine, table_rows
FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_type <> 'SEQUENCE' AND table_type <> 'TEMPORARY'
ORDER BY table_name
"""
_COLUMNS = """
SELECT table_name, column_name, data_type, column_type, is_nullable, datetime_precision,
       character_set_name, collation_name, character_maximum_length
FROM information_schema.columns WHERE table_schema = {schema}{one}
ORDER BY table_name, ordinal_position
"""
_INDEXES = """
SELECT table_name, index_name, non_unique, column_name, sub_part
FROM information_schema.statistics WHERE table_schema = {schema}{one}
ORDER BY table_name, index_name <> 'PRIMARY', index_name, seq_in_index
"""
_REFERENCES = """
SELECT table_name, constraint_name, column_name, referenced_table_schema, referenced_table_name,
       referenced_column_name
FROM information_schema.key_column_usage
WHERE table_schema = {schema} AND referenced_table_name IS NOT NULL
ORDER BY table_name, constraint_name, ordinal_position
"""
# MariaDB has no type for JSON: a longtext with a check.
_CHECKS = """
SELECT table_name, check_clause FROM information_schema.check_constraints
WHERE constraint_schema = {schema}{one}
"""
_ENGINES = "SELECT DISTINCT engine FROM information_schema.tables WHERE table_schema = DATABASE()"


def find_relation(connection: MysqlConnection, app_id: str, relation: Relation) -> MysqlRelation:
    """The relation as the catalogue has it now; SourceDriftError when there is no such table."""
    if relation.table is not None:
        return _find_table(connection, app_id, relation.table)
    if relation.query is None:
        raise ConfigurationError(f"{app_id}: a source needs a table or a query")
    source = f"(\n{query_text(relation.query)}\n)"
    shape = shape_of(connection, source)
    columns = query_columns(shape)
    return MysqlRelation(
        source=source,
        facts=_facts(columns),
        columns=columns,
        shape=shape,
        engines=_engines(connection),
    )


def _find_table(connection: MysqlConnection, app_id: str, table: str) -> MysqlRelation:
    dots = [at for at, letter in enumerate(table) if letter == "."]
    places = [f"(DATABASE(), {text_literal(table)})"]
    places += [f"({text_literal(table[:at])}, {text_literal(table[at + 1 :])})" for at in dots]
    found = connection.ask(_FIND.format(places=", ".join(places)))
    if not found:
        existing = [row[0] for row in connection.ask(_LIST)]
        raise missing_table(app_id, table, existing, unless=_UNLESS_HIDDEN)
    schema, name, kind, engine = min(found, key=lambda row: (row[1] != table, row[1]))
    source = in_from((schema, name))
    catalogue = _Catalogue(connection, schema, name)
    return MysqlRelation(
        source=source,
        facts=catalogue.facts(name),
        columns=catalogue.columns(name),
        shape=shape_of(connection, source),
        engines=_engines(connection) if engine is None or kind == "VIEW" else frozenset({engine.lower()}),
        place=None if engine is None or kind == "VIEW" else (schema, name),
    )


def _engines(connection: MysqlConnection) -> frozenset[str]:
    return frozenset(engine.lower() for (engine,) in connection.ask(_ENGINES) if engine)


def list_tables(connection: MysqlConnection) -> tuple[TableListing, ...]:
    """Every table and view of the database that this user may see, by name."""
    tables = connection.ask(_LIST)
    schema = connection.ask("SELECT DATABASE()")[0][0]
    catalogue = _Catalogue(connection, schema, None)
    references = _references(connection, schema)
    return tuple(
        catalogue.listing(name, rows, references.get(name, ())) for name, _kind, _engine, rows in tables
    )


class _Catalogue:
    """Columns and indexes of one table, or of all tables of a database."""

    def __init__(self, connection: MysqlConnection, schema: str, table: str | None) -> None:
        place = {
            "schema": text_literal(schema),
            "one": "" if table is None else f" AND table_name = {text_literal(table)}",
        }
        described = connection.ask(_COLUMNS.format(**place))
        checked: set[tuple[str, str]] = set()
        if connection.is_mariadb and any(row[2] == "longtext" for row in described):
            checked = _json_columns(connection.ask(_CHECKS.format(**place)))
        self._columns: dict[str, list[MysqlColumn]] = defaultdict(list)
        for table_name, *described_column in described:
            is_json = (table_name, described_column[0]) in checked
            self._columns[table_name].append(_column(described_column, is_json=is_json))
        self._indexes = _indexes(connection, place)

    def columns(self, table: str) -> tuple[MysqlColumn, ...]:
        return tuple(self._columns[table])

    def facts(self, table: str) -> TableFacts:
        columns, indexes = self.columns(table), self._indexes.get(table, [])
        not_null = {column.facts.name for column in columns if not column.facts.nullable}
        unique = [index for index in indexes if index.unique and not_null.issuperset(index.columns)]
        return _facts(
            columns,
            primary=next((index.columns for index in unique if index.name == "PRIMARY"), ()),
            unique=tuple(index.columns for index in unique if index.name != "PRIMARY"),
        )

    def listing(self, table: str, rows: Any, references: tuple[ForeignKey, ...]) -> TableListing:
        facts = self.facts(table)
        cursor = suggest_cursor(facts.columns)
        return TableListing(
            table=table,
            facts=facts,
            estimated_rows=None if rows is None else int(rows),
            suggested_key=next((key for key in (facts.primary_key, *facts.unique_keys) if key), ()),
            suggested_cursor=cursor,
            cursor_has_index=any(cursor == index.columns[0] for index in self._indexes.get(table, [])),
            foreign_keys=references,
        )


@dataclass(frozen=True, slots=True)
class _Index:
    name: str
    unique: bool
    columns: tuple[str, ...]


def _indexes(connection: MysqlConnection, place: Mapping[str, str]) -> dict[str, list[_Index]]:
    """By table, the indexes of whole columns: the primary key first, then by the number of columns."""
    parts: dict[tuple[str, str, bool], list[str | None]] = defaultdict(list)
    for table, index, non_unique, column, beginning in connection.ask(_INDEXES.format(**place)):
        # An index of beginnings says nothing of whole values; a part that is an expression has no column.
        parts[table, index, non_unique == "0"].append(None if beginning else column)
    found: dict[str, list[_Index]] = defaultdict(list)
    for (table, index, unique), columns in parts.items():
        whole = tuple(column for column in columns if column is not None)
        if len(whole) == len(columns):
            found[table].append(_Index(index, unique, whole))
    for indexes in found.values():
        indexes.sort(key=lambda index: (index.name != "PRIMARY", len(index.columns)))
    return found


def whole_indexes(connection: MysqlConnection, schema: str, table: str) -> tuple[tuple[str, ...], ...]:
    """The columns of each index of a table."""
    place = {"schema": text_literal(schema), "one": f" AND table_name = {text_literal(table)}"}
    return tuple(index.columns for index in _indexes(connection, place).get(table, ()))


def _json_columns(checks: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    found = ((table, _JSON_CHECK.fullmatch(clause)) for table, clause in checks)
    return {(table, check[1].replace("``", "`")) for table, check in found if check}


def _references(connection: MysqlConnection, schema: str) -> dict[str, tuple[ForeignKey, ...]]:
    parts: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for table, name, own, other_schema, other, theirs in connection.ask(
        _REFERENCES.format(schema=text_literal(schema))
    ):
        place = other if other_schema == schema else f"{other_schema}.{other}"
        parts[table, name, place].append((own, theirs))
    found: dict[str, list[ForeignKey]] = defaultdict(list)
    for (table, _name, place), pairs in parts.items():
        own, theirs = zip(*pairs, strict=True)
        found[table].append(ForeignKey(columns=own, table=place, references=theirs))
    return {table: tuple(keys) for table, keys in found.items()}


def _column(described: Sequence[Any], *, is_json: bool) -> MysqlColumn:
    name, data_type, native, nullable, digits, charset, collation, characters = described
    kind: Kind = "json" if is_json else KINDS.get(data_type.lower(), "text")
    shown = "json" if is_json else native
    return MysqlColumn(
        facts=column_facts(name, shown, kind, nullable=nullable == "YES", collation=collation),
        kind=kind,
        digits=int(digits or 0),
        charset=charset,
        collation=collation,
        longest=longest_text(kind, None if characters is None else int(characters)),
    )


def _facts(
    columns: Sequence[MysqlColumn],
    primary: tuple[str, ...] = (),
    unique: tuple[tuple[str, ...], ...] = (),
) -> TableFacts:
    facts = tuple(column.facts for column in columns)
    return TableFacts(columns=facts, primary_key=primary, fingerprint=fingerprint(facts), unique_keys=unique)
