"""What MySQL's types are to a reader: kinds of columns, and the facts that follow from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from headrace.domain.vocabulary import PropertyType
from headrace.ports import ColumnFacts
from headrace.sources.mysql_column import Kind, is_bytewise

KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "year"), "integer"),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), "binary"),
    **dict.fromkeys(
        ("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
         "geometrycollection", "geomcollection"),
        "geometry",
    ),
    "decimal": "decimal",
    "float": "float",
    "double": "double",
    "bit": "bit",
    "date": "date",
    "datetime": "datetime",
    "timestamp": "timestamp",
    "time": "time",
    "enum": "list",
    "set": "list",
    "json": "json",
}  # fmt: skip
"""By `data_type` of the catalogue; all others are texts (uuid, inet6 too)."""
SEEN_ENGINES: Final = frozenset(
    {"innodb", "myisam", "aria", "memory", "csv", "archive", "mrg_myisam", "sequence"}
)
"""Engines whose every change is in a transaction that InnoDB tells of, or in a statement that runs."""

_TYPES: Final[Mapping[Kind, PropertyType]] = {
    "integer": PropertyType.INTEGER,
    "bit": PropertyType.INTEGER,
    "decimal": PropertyType.DECIMAL,
    "float": PropertyType.FLOAT,
    "double": PropertyType.FLOAT,
    "date": PropertyType.DATE,
    "datetime": PropertyType.DATETIME,
    "timestamp": PropertyType.DATETIME,
    "json": PropertyType.JSON,
}
_BOOLEAN: Final = re.compile(r"(tinyint|bit)\(1\)$")
"""How MySQL writes BOOLEAN; other values than 0 and 1 do not fit."""
_PORTABLE: Final = frozenset({"integer", "date", "datetime", "timestamp", "binary"})
_FIXED_TEXT_BYTES: Final = 512
"""More than any value of a type of fixed size takes as text."""
_CHARACTER_BYTES: Final = 4


def column_facts(name: str, native: str, kind: Kind, *, nullable: bool, collation: str | None) -> ColumnFacts:
    boolean = _BOOLEAN.match(native) is not None
    return ColumnFacts(
        name=name,
        native_type=native,
        type=PropertyType.BOOLEAN if boolean else _TYPES.get(kind, PropertyType.STRING),
        nullable=nullable,
        portable_order=not boolean and (kind in _PORTABLE or is_bytewise(kind, collation)),
    )


def longest_text(kind: Kind, characters: int | None) -> int | None:
    """Bytes that a value's text has at most, from the length that its column declares; None: unbounded."""
    if kind in {"geometry", "json"}:
        return None
    return _FIXED_TEXT_BYTES if characters is None else characters * _CHARACTER_BYTES + 2
