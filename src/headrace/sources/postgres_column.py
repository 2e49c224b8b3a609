"""Columns of PostgreSQL's tables and queries, with what reading needs of their types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from headrace.domain.vocabulary import PropertyType
from headrace.ports import ColumnFacts

Connection = psycopg.Connection[tuple[Any, ...]]

_TYPES: Final = {
    "int2": PropertyType.INTEGER,
    "int4": PropertyType.INTEGER,
    "int8": PropertyType.INTEGER,
    "numeric": PropertyType.DECIMAL,
    "money": PropertyType.DECIMAL,
    "float4": PropertyType.FLOAT,
    "float8": PropertyType.FLOAT,
    "bool": PropertyType.BOOLEAN,
    "date": PropertyType.DATE,
    "timestamp": PropertyType.DATETIME,
    "timestamptz": PropertyType.DATETIME,
    "json": PropertyType.JSON,
    "jsonb": PropertyType.JSON,
}
BYTEWISE: Final = frozenset({"text", "varchar"})
"""Types that are ordered bytewise under COLLATE "C"."""
_FIXED_TEXT_BYTES: Final = 512
"""More than any value of a type of fixed size takes as text."""
_NUMERIC_TEXT_BYTES: Final = 150_000
"""131,072 digits before the point and 16,383 after it."""
_PORTABLE: Final = BYTEWISE | {"int2", "int4", "int8", "date", "timestamp", "timestamptz", "uuid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresColumn:
    """A column with what reading needs besides its facts.

    Attributes:
        number: in its relation.
        base: the type's short name, domains resolved (int4, timestamptz, ...).
        cast: how to write that type in a CAST that neither pads nor truncates.
        modifier: the type modifier (of a timestamp: its digits), -1 for none.
        type_oid: of the type, domains resolved.
        longest: bytes that a value's text has at most, None when nothing bounds it.
    """

    facts: ColumnFacts
    number: int
    base: str
    cast: str
    modifier: int
    type_oid: int
    longest: int | None


# Domains are followed to their base type; a domain's own NOT NULL counts. The seed is one row a column.
_COLUMNS = """
WITH RECURSIVE seed(relation, position, name, declared, declared_mod, nullable) AS ({seed}),
col AS (
  SELECT relation, position, name, declared, declared_mod, nullable, declared AS type, declared_mod AS mod
  FROM seed
  UNION ALL
  SELECT col.relation, col.position, col.name, col.declared, col.declared_mod,
         col.nullable AND NOT t.typnotnull, t.typbasetype, t.typtypmod
  FROM col JOIN pg_catalog.pg_type t ON t.oid = col.type AND t.typtype = 'd'
)
SELECT col.relation, col.position, col.name, format_type(col.declared, col.declared_mod), col.nullable,
       t.typname, format_type(col.type, -1), col.mod, t.oid, t.typlen
FROM col JOIN pg_catalog.pg_type t ON t.oid = col.type AND t.typtype <> 'd'
ORDER BY col.relation, col.position
"""
_TABLE_SEED = """
  SELECT a.attrelid, a.attnum::int, a.attname::text, a.atttypid, a.atttypmod, NOT a.attnotnull
  FROM pg_catalog.pg_attribute a
  WHERE a.attrelid = ANY(%(oids)s) AND a.attnum > 0 AND NOT a.attisdropped
"""
_QUERY_SEED = """
  SELECT 0::oid, c.position, c.name, c.type, c.mod, true
  FROM unnest(%(positions)s::int[], %(names)s::text[], %(types)s::oid[], %(mods)s::int[])
    AS c(position, name, type, mod)
"""


def table_columns(connection: Connection, oids: Sequence[int]) -> dict[int, tuple[PostgresColumn, ...]]:
    """By table."""
    return _columns(connection, _TABLE_SEED, {"oids": oids})


def query_columns(
    connection: Connection, described: Sequence[tuple[str, int, int]]
) -> tuple[PostgresColumn, ...]:
    """Of a query whose result has these columns (name, type and modifier)."""
    names, types, mods = ([*part] for part in zip(*described, strict=True)) if described else ([], [], [])
    bound = {"positions": list(range(len(described))), "names": names, "types": types, "mods": mods}
    return _columns(connection, _QUERY_SEED, bound).get(0, ())


def described_columns(cursor: psycopg.Cursor[Any]) -> list[tuple[str, int, int]]:
    """Name, type and modifier of each column of the cursor's result, domains resolved."""
    result, described = cursor.pgresult, cursor.description or ()
    return [(c.name, c.type_code, result.fmod(at) if result else -1) for at, c in enumerate(described)]


def _columns(
    connection: Connection, seed: str, bound: dict[str, Any]
) -> dict[int, tuple[PostgresColumn, ...]]:
    found: dict[int, list[PostgresColumn]] = {}
    statement = sql.SQL(_COLUMNS.format(seed=seed))
    for row in connection.execute(statement, bound):
        oid, number, name, native, nullable, base, cast, modifier, type_oid, size = row
        facts = ColumnFacts(
            name=name,
            native_type=native,
            type=_TYPES.get(base, PropertyType.STRING),
            nullable=nullable,
            portable_order=base in _PORTABLE,
        )
        longest = _FIXED_TEXT_BYTES if size > 0 else _longest(base, modifier)
        column = PostgresColumn(
            facts=facts,
            number=number,
            base=base,
            cast=cast,
            modifier=modifier,
            type_oid=type_oid,
            longest=longest,
        )
        found.setdefault(oid, []).append(column)
    return {oid: tuple(columns) for oid, columns in found.items()}


def _longest(base: str, modifier: int) -> int | None:
    """The bytes of the longest text of a type of no fixed size."""
    if base == "numeric":
        return _NUMERIC_TEXT_BYTES
    if base in {"inet", "cidr"}:
        return _FIXED_TEXT_BYTES
    if base in {"varchar", "bpchar"} and modifier >= 0:
        return (modifier - 4) * 4  # a character has at most four bytes
    return modifier if base in {"bit", "varbit"} and modifier >= 0 else None
