"""A column of MySQL or MariaDB in SQL: how it is shown, ordered, and compared with a text of its own."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Final, Literal
from zoneinfo import ZoneInfo

from pymysql.converters import escape_string  # type: ignore[import-untyped]

from headrace.ports import ColumnFacts

Kind = Literal[
    "integer", "decimal", "float", "double", "bit", "date", "datetime", "timestamp", "time",
    "text", "list", "json", "geometry", "binary",
]  # fmt: skip
"""`list`: ENUM and SET. `text` is everything else that is shown as a text."""

OFFSET: Final = "+00"
"""What follows the text of a TIMESTAMP: the session is in UTC, and without it the text were a naive one."""
TEXTS: Final = frozenset({"text", "list", "json", "geometry"})
"""Kinds that are compared as texts."""
TIMES: Final = frozenset({"date", "datetime", "timestamp"})

_BYTEWISE: Final = re.compile(r"(utf8|utf8mb3|utf8mb4|ascii)_nopad_bin|utf8mb4_0900_bin")
_WHOLE: Final = re.compile(r"-?[0-9]{1,30}")
_TIME: Final = re.compile(r"-?[0-9]{2,3}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?")
_DATE: Final = r"[0-9]{4}-(?:0[0-9]|1[0-2])-(?:[0-2][0-9]|3[01])"
_MOMENT: Final = re.compile(
    rf"(?P<date>{_DATE})[ T](?P<clock>[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}(?:\.[0-9]{{1,6}})?)(?P<utc>Z|\+00)?"
)
_DAY: Final = re.compile(_DATE)
_HEX: Final = re.compile(r"\\x((?:[0-9a-f]{2})*)")
_DECIMAL_DIGITS: Final = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class MysqlColumn:
    """A column with what reading needs besides its facts.

    Attributes:
        digits: of the fraction of a second.
        charset, collation: of a text in a table; None elsewhere, and where they are not known.
        longest: bytes that a value's text has at most, None when nothing bounds it.
    """

    facts: ColumnFacts
    kind: Kind
    digits: int = 0
    charset: str | None = None
    collation: str | None = None
    longest: int | None = None

    @property
    def bytewise(self) -> bool:
        """Plain comparisons order it by its bytes in UTF-8, or by its value."""
        return self.kind not in TEXTS or is_bytewise(self.kind, self.collation)

    @property
    def plain(self) -> str:
        return f"q.{quoted(self.facts.name)}"

    @property
    def as_bytes(self) -> str:
        """What a text is, whatever its collation takes for equal ('a', 'A', 'á', 'a ')."""
        text = f"ST_AsText({self.plain})" if self.kind == "geometry" else self.plain
        return f"CAST(CONVERT({text} USING utf8mb4) AS BINARY)"


def is_bytewise(kind: Kind, collation: str | None) -> bool:
    """An ENUM is compared as its text but ordered as its number: never so."""
    return kind == "text" and collation is not None and bool(_BYTEWISE.fullmatch(collation))


def quoted(name: str) -> str:
    """The identifier as MySQL quotes it."""
    return "`" + name.replace("`", "``") + "`"


def text_literal(text: str) -> str:
    """Raises ValueError for what is no text (a lone surrogate)."""
    text.encode()
    return f"'{escape_string(text)}'"


def bytes_literal(text: str) -> str:
    """The text as `MysqlColumn.as_bytes` is compared with it."""
    return f"X'{text.encode().hex()}'"


def literal(column: MysqlColumn, text: str, *, zone: str) -> str:
    """The column's value with this text, its own or a canonical one, to be compared with `column.plain`.

    Raises:
        ValueError: no value of the column has this text.
    """
    match column.kind:
        case "integer" | "bit":
            return _matched(_WHOLE, text)
        case "decimal":
            return _decimal(text)
        case "float" | "double":
            return _float(text, column.kind)
        case "date":
            return f"'{_matched(_DAY, text)}'"
        case "datetime" | "timestamp":
            return f"'{_moment(text, column.kind, zone)}'"
        case "time":
            return f"'{_matched(_TIME, text)}'"
        case "binary":
            return f"X'{_matched(_HEX, text).removeprefix(chr(92) + 'x')}'"
        case _:
            return _text(column, text)


def _matched(pattern: re.Pattern[str], text: str) -> str:
    if pattern.fullmatch(text) is None:
        raise ValueError(f"not of the column's type: {text!r}")
    return text


def _decimal(text: str) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"not a decimal: {text!r}") from error
    if not number.is_finite() or abs(number.adjusted()) > _DECIMAL_DIGITS:
        raise ValueError(f"not a decimal of a column: {text!r}")
    return format(number, "f")


def _float(text: str, kind: str) -> str:
    number = float(text)
    if kind == "float":  # the column holds the nearest value of four bytes, and is compared as a double
        try:
            number = struct.unpack("<f", struct.pack("<f", number))[0]
        except OverflowError as error:
            raise ValueError(f"not a float of four bytes: {text!r}") from error
    written = repr(number)
    if "n" in written:  # nan, inf
        raise ValueError(f"not a finite number: {text!r}")
    return written if "e" in written else f"{written}e0"


def _moment(text: str, kind: str, zone: str) -> str:
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"not a date and time: {text!r}")
    if kind == "datetime" and found["utc"] == "Z":  # canonical: the naive one that the column holds
        local = datetime.fromisoformat(text).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        return local.isoformat(sep=" ")
    return f"{found['date']} {found['clock']}"


def _text(column: MysqlColumn, text: str) -> str:
    written = text_literal(text)
    if column.charset in {None, "utf8mb4"}:
        return written
    # In the column's own character set and collation: so an index serves, and no mix is refused.
    return f"CONVERT({written} USING {column.charset}) COLLATE {column.collation}"
