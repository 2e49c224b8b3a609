"""The columns of a query's result, as the server describes one without rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pymysql.constants import FIELD_TYPE, FLAG  # type: ignore[import-untyped]

from headrace.sources.mysql_column import Kind, MysqlColumn
from headrace.sources.mysql_connection import MysqlConnection
from headrace.sources.mysql_type import column_facts, longest_text

_BINARY_CHARSET: Final = 63
_MOST_DIGITS: Final = 6
_NAMES: Final[Mapping[int, tuple[str, Kind]]] = {
    FIELD_TYPE.TINY: ("tinyint", "integer"),
    FIELD_TYPE.SHORT: ("smallint", "integer"),
    FIELD_TYPE.INT24: ("mediumint", "integer"),
    FIELD_TYPE.LONG: ("int", "integer"),
    FIELD_TYPE.LONGLONG: ("bigint", "integer"),
    FIELD_TYPE.YEAR: ("year", "integer"),
    FIELD_TYPE.DECIMAL: ("decimal", "decimal"),
    FIELD_TYPE.NEWDECIMAL: ("decimal", "decimal"),
    FIELD_TYPE.FLOAT: ("float", "float"),
    FIELD_TYPE.DOUBLE: ("double", "double"),
    FIELD_TYPE.BIT: ("bit", "bit"),
    FIELD_TYPE.DATE: ("date", "date"),
    FIELD_TYPE.NEWDATE: ("date", "date"),
    FIELD_TYPE.DATETIME: ("datetime", "datetime"),
    FIELD_TYPE.TIMESTAMP: ("timestamp", "timestamp"),
    FIELD_TYPE.TIME: ("time", "time"),
    FIELD_TYPE.JSON: ("json", "json"),
    FIELD_TYPE.GEOMETRY: ("geometry", "geometry"),
}
_TIMES: Final = frozenset({"datetime", "timestamp", "time"})


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a result, as the protocol describes it."""

    name: str
    type_code: int
    flags: int
    length: int
    scale: int
    charsetnr: int


Shape = tuple[Field, ...]


def shape_of(connection: MysqlConnection, source: str) -> Shape:
    """The columns of what FROM names. In a transaction they stay so: altering waits until it ends. A second
    statement in a query is a syntax error, for the session sends one at a time."""
    fields = connection.describe(f"SELECT * FROM {source} AS q LIMIT 0")
    return tuple(Field(f.name, f.type_code, f.flags, f.length, f.scale, f.charsetnr) for f in fields)


def query_columns(shape: Shape) -> tuple[MysqlColumn, ...]:
    return tuple(_column(field) for field in shape)


def _column(field: Field) -> MysqlColumn:
    native, kind = _type_of(field)
    digits = min(field.scale, _MOST_DIGITS) if kind in _TIMES else 0
    return MysqlColumn(
        facts=column_facts(field.name, native, kind, nullable=True, collation=None),
        kind=kind,
        digits=digits,
        longest=longest_text(kind, field.length if kind in {"text", "binary"} else None),
    )


def _type_of(field: Field) -> tuple[str, Kind]:
    """A name of the native type that changes when the type does, and the kind."""
    native, kind = _NAMES.get(field.type_code, ("text", "text"))
    if field.type_code == FIELD_TYPE.TINY and field.length == 1:
        return "tinyint(1)", kind
    if field.flags & (FLAG.ENUM | FLAG.SET):
        return "enum" if field.flags & FLAG.ENUM else "set", "list"
    if kind == "text" and field.charsetnr == _BINARY_CHARSET:
        return "blob", "binary"
    if kind == "bit":
        return f"bit({field.length})", kind
    if kind == "decimal":
        return f"decimal({field.length},{field.scale})", kind
    if kind in _TIMES and field.scale:
        return f"{native}({field.scale})", kind
    return f"{native} unsigned" if kind == "integer" and field.flags & FLAG.UNSIGNED else native, kind
