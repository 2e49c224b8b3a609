"""The order of MySQL's texts, for the few comparisons of cursors outside the database."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

from headrace.sources.mysql_column import OFFSET, TIMES, Kind

_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?: (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?)?")
_CLOCK: Final = re.compile(r"(-?)(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_NUMBERS: Final = frozenset({"integer", "bit", "decimal", "float", "double"})


def rank_text(text: str, kind: Kind) -> Any:
    """Compares with the ranks of the same kind as MySQL compares the values: times (the zero date before all
    others), numbers, times of day; any other kind as text, bytewise.

    Raises:
        ValueError: the text is none of the kind.
    """
    if kind in TIMES:
        return _rank_moment(text.removesuffix(OFFSET))
    if kind in _NUMBERS:
        return Decimal(text)
    if kind == "time":
        return _rank_clock(text)
    return text.encode()


def _rank_moment(text: str) -> tuple[str, str, str]:
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"not a date and time of MySQL: {text!r}")
    day, clock, fraction = found.groups()
    return day, clock or "00:00:00", (fraction or "").ljust(6, "0")


def _rank_clock(text: str) -> Decimal:
    found = _CLOCK.fullmatch(text)
    if found is None:
        raise ValueError(f"not a time of MySQL: {text!r}")
    sign, hours, minutes, seconds = found.groups()
    return Decimal(f"{sign}1") * (int(hours) * 3600 + int(minutes) * 60 + Decimal(seconds))
