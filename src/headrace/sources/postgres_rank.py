"""The order of PostgreSQL's texts, for the few comparisons of cursors outside the database."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

_MOMENT: Final = re.compile(
    r"(?P<year>\d{4,})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[ T](?P<clock>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,6}))?(?:\+00(?::?00)?|Z)?)?(?P<era> BC)?"
)
_TIMES: Final = frozenset({"date", "timestamp", "timestamptz"})
_NUMBERS: Final = frozenset({"int2", "int4", "int8", "oid", "numeric", "float4", "float8"})


def rank_text(text: str, base: str) -> Any:
    """Compares with the ranks of the same type as PostgreSQL compares the values: times (with infinities,
    BC, years past 9999) and numbers; any other type as text, bytewise.

    Raises:
        ValueError: the text is none of the type.
    """
    if base in _TIMES:
        return _rank_time(text)
    if base in _NUMBERS:
        return _rank_number(text)
    return text.encode()


def _rank_time(text: str) -> tuple[int, ...]:
    if text in {"-infinity", "infinity"}:
        return (-1,) if text.startswith("-") else (1,)
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"not a UTC date-time of PostgreSQL: {text!r}")
    year = int(found["year"])
    clock = (int(part) for part in (found["clock"] or "0:0:0").split(":"))
    micros = int((found["fraction"] or "").ljust(6, "0"))
    return (0, 1 - year if found["era"] else year, int(found["month"]), int(found["day"]), *clock, micros)


def _rank_number(text: str) -> tuple[int, Decimal]:
    number = Decimal(text)
    return (1, Decimal(0)) if number.is_nan() else (0, number)  # NaN is greater than all
