"""What SQLite's catalogue says of relations. Types are declared, values are free: affinity is what holds."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from headrace.domain.vocabulary import PropertyType
from headrace.errors import ConfigurationError
from headrace.ports import ColumnFacts, ForeignKey, Relation, TableFacts, TableListing
from headrace.sources.drift import missing_table, query_text
from headrace.sources.fingerprint import fingerprint
from headrace.sources.suggestion import suggest_cursor

Affinity = Literal["integer", "real", "numeric", "text", "none"]

_ROWIDS: Final = ("rowid", "_rowid_", "oid")
_COUNT_LIMIT: Final = 100_000
_TYPES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), type_)
    for pattern, type_ in (
        (r"INT", PropertyType.INTEGER),
        (r"BOOL", PropertyType.BOOLEAN),
        (r"DEC|NUMERIC|MONEY", PropertyType.DECIMAL),
        (r"REAL|FLOA|DOUB", PropertyType.FLOAT),
        (r"^\s*DATE\s*$", PropertyType.DATE),
        (r"DATETIME|TIMESTAMP", PropertyType.DATETIME),
        (r"JSON", PropertyType.JSON),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteColumn:
    facts: ColumnFacts
    affinity: Affinity


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteRelation:
    """A relation that exists: how FROM names it, and its columns.

    Attributes:
        table: its name, when it is a table whose rows have a rowid.
        rowid: a name of that rowid which no column has taken.
    """

    source: str
    facts: TableFacts
    columns: tuple[SqliteColumn, ...]
    table: str | None = None
    rowid: str | None = None

    def column(self, name: str) -> SqliteColumn:
        return next(c for c in self.columns if c.facts.name == name)


def quoted(name: str) -> str:
    """The identifier as SQLite quotes it."""
    return '"' + name.replace('"', '""') + '"'


def affinity_of(declared: str) -> Affinity:
    """*Source:* the five rules of "Determination Of Column Affinity" in SQLite's manual."""
    upper = declared.upper()
    if "INT" in upper:
        return "integer"
    if any(word in upper for word in ("CHAR", "CLOB", "TEXT")):
        return "text"
    if not upper or "BLOB" in upper:
        return "none"
    if any(word in upper for word in ("REAL", "FLOA", "DOUB")):
        return "real"
    return "numeric"


def property_type(declared: str) -> PropertyType:
    return next((type_ for pattern, type_ in _TYPES if pattern.search(declared)), PropertyType.STRING)


def find_relation(connection: sqlite3.Connection, app_id: str, relation: Relation) -> SqliteRelation:
    """The relation as the catalogue has it now; SourceDriftError when there is no such table."""
    if relation.table is not None:
        return _find_table(connection, app_id, relation.table)
    if relation.query is None:
        raise ConfigurationError(f"{app_id}: a source needs a table or a query")
    return _find_query(connection, relation.query)


class _Table(NamedTuple):
    """A table or view of the file. `plain`: neither a view nor a virtual table."""

    name: str
    without_rowid: bool
    strict: bool
    plain: bool


def _tables(connection: sqlite3.Connection) -> list[_Table]:
    found = connection.execute(
        "SELECT CAST(name AS TEXT), wr, strict, type = 'table' FROM pragma_table_list"
        " WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND type <> 'shadow' ORDER BY name"
    )
    return [_Table(_text(name), *map(bool, flags)) for name, *flags in found]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _find_table(connection: sqlite3.Connection, app_id: str, table: str) -> SqliteRelation:
    tables = _tables(connection)
    wanted = {table.lower(), table.lower().removeprefix("main.")}
    exact = [t for t in tables if t.name.lower() in wanted]
    if not exact:
        raise missing_table(app_id, table, [t.name for t in tables])
    return _table_relation(connection, exact[0])


def _table_relation(connection: sqlite3.Connection, table: _Table) -> SqliteRelation:
    name, without_rowid, strict, plain = table
    info = connection.execute(
        "SELECT name, type, \"notnull\", pk FROM pragma_table_xinfo(?, 'main')"
        " WHERE hidden <> 1 ORDER BY cid",
        (name,),
    ).fetchall()
    described = [
        (_text(column), _text(declared), bool(notnull), pk) for column, declared, notnull, pk in info
    ]
    key = tuple(column for column, _type, _notnull, pk in sorted(described, key=lambda c: c[3]) if pk)
    columns = []
    for column, declared, notnull, pk in described:
        rowid = bool(pk) and len(key) == 1 and declared.upper() == "INTEGER" and not without_rowid
        nullable = not (notnull or rowid or (pk and without_rowid))
        columns.append(_column(column, declared, nullable=nullable, whole=rowid or strict))
    unique, _leading = _indexes(connection, name, [column.facts for column in columns])
    taken = {column.lower() for column, _type, _notnull, _pk in described}
    has_rowid = plain and not without_rowid
    free = next((alias for alias in _ROWIDS if has_rowid and alias not in taken), None)
    return SqliteRelation(
        source=f"main.{quoted(name)}",
        facts=_facts(columns, key, unique),
        columns=tuple(columns),
        table=None if free is None else name,
        rowid=free,
    )


def _column(name: str, declared: str, *, nullable: bool, whole: bool) -> SqliteColumn:
    """`whole`: an integer column that can hold nothing else."""
    affinity = affinity_of(declared)
    portable = not nullable and ((affinity == "integer" and whole) or affinity == "text")
    return SqliteColumn(
        facts=ColumnFacts(
            name=name,
            native_type=declared,
            type=property_type(declared),
            nullable=nullable,
            portable_order=portable,
        ),
        affinity=affinity,
    )


def _facts(
    columns: list[SqliteColumn], primary_key: tuple[str, ...], unique_keys: tuple[tuple[str, ...], ...] = ()
) -> TableFacts:
    facts = tuple(column.facts for column in columns)
    return TableFacts(
        columns=facts, primary_key=primary_key, fingerprint=fingerprint(facts), unique_keys=unique_keys
    )


def _find_query(connection: sqlite3.Connection, query: str) -> SqliteRelation:
    """A temporary view tells what the columns inherit of their declared types; the file itself is
    opened read-only, and stays so."""
    text = query_text(query)
    connection.execute("PRAGMA query_only = 0")
    try:
        connection.execute(f"CREATE TEMP VIEW headrace_probe AS {text}")
        try:
            info = connection.execute("SELECT name, type FROM pragma_table_xinfo('headrace_probe', 'temp')")
            described = [(_text(name), _text(declared)) for name, declared in info]
        finally:
            connection.execute("DROP VIEW temp.headrace_probe")
    finally:
        connection.execute("PRAGMA query_only = 1")
    columns = [_column(name, declared, nullable=True, whole=False) for name, declared in described]
    return SqliteRelation(source=f"(\n{text}\n)", facts=_facts(columns, ()), columns=tuple(columns))


def list_tables(connection: sqlite3.Connection) -> tuple[TableListing, ...]:
    """Every table and view of the file, by name."""
    return tuple(
        _listing(connection, table.name, _table_relation(connection, table)) for table in _tables(connection)
    )


def _listing(connection: sqlite3.Connection, name: str, relation: SqliteRelation) -> TableListing:
    counted = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {relation.source} LIMIT {_COUNT_LIMIT})"
    ).fetchone()[0]
    facts = relation.facts
    _unique, leading = _indexes(connection, name, facts.columns)
    leading |= set(facts.primary_key[:1])
    cursor = suggest_cursor(facts.columns)
    return TableListing(
        table=name,
        facts=facts,
        estimated_rows=counted if counted < _COUNT_LIMIT else None,
        suggested_key=next((key for key in (facts.primary_key, *facts.unique_keys) if key), ()),
        suggested_cursor=cursor,
        cursor_has_index=cursor in leading,
        foreign_keys=_references(connection, name),
    )


def _indexes(
    connection: sqlite3.Connection, name: str, columns: Sequence[ColumnFacts]
) -> tuple[tuple[tuple[str, ...], ...], frozenset[str]]:
    """The columns of unique not-null indexes, and columns that a whole index begins with."""
    not_null = {c.name for c in columns if not c.nullable}
    unique: list[tuple[str, ...]] = []
    leading: set[str] = set()
    listed = connection.execute(
        "SELECT name, \"unique\" FROM pragma_index_list(?, 'main') WHERE partial = 0 ORDER BY seq", (name,)
    ).fetchall()
    for index, is_unique in listed:
        parts = connection.execute(
            "SELECT name FROM pragma_index_info(?, 'main') ORDER BY seqno", (_text(index),)
        ).fetchall()
        indexed = tuple(_text(part) for (part,) in parts)
        leading.update(indexed[:1])
        if is_unique and not_null.issuperset(indexed):
            unique.append(indexed)
    return tuple(unique), frozenset(leading)


def whole_indexes(connection: sqlite3.Connection, name: str) -> tuple[tuple[str, ...], ...]:
    """The columns of each index of a table that holds every row; an expression is an empty name."""
    listed = connection.execute(
        "SELECT name FROM pragma_index_list(?, 'main') WHERE partial = 0 ORDER BY seq", (name,)
    ).fetchall()
    parts = "SELECT name FROM pragma_index_info(?, 'main') ORDER BY seqno"
    return tuple(
        tuple(_text(part) for (part,) in connection.execute(parts, (_text(index),))) for (index,) in listed
    )


def _references(connection: sqlite3.Connection, name: str) -> tuple[ForeignKey, ...]:
    listed = connection.execute(
        'SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?, \'main\') ORDER BY id, seq', (name,)
    ).fetchall()
    keys: dict[int, tuple[str, list[str], list[str]]] = {}
    for at, table, own, theirs in listed:
        _table, owns, their_columns = keys.setdefault(at, (_text(table), [], []))
        owns.append(_text(own))
        if theirs is not None:  # absent: the other table's primary key
            their_columns.append(_text(theirs))
    return tuple(
        ForeignKey(columns=tuple(own), table=table, references=tuple(theirs))
        for table, own, theirs in keys.values()
    )
