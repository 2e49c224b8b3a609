"""Texts of dates and date-times, with an offset or in a time zone."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, Final
from zoneinfo import ZoneInfo

from headrace.domain.arrow import Date32Array, StringArray, TimestampArray, pa, pc
from headrace.domain.number_text import cast_integers

_US: Final = pa.timestamp("us")
_UTC_US: Final = pa.timestamp("us", tz="UTC")
_MICROSECOND: Final = timedelta(microseconds=1)
_ARROW_ZONES_END: Final = pa.scalar(datetime(2037, 1, 1), _US)  # noqa: DTZ001 (naive on purpose)
"""Arrow forgets summer time from 2038 on: later times are Python's."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US: Final = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z."""
_FIRST_DAY: Final = pa.scalar(date(1, 1, 1))
_LAST_US: Final = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z."""

_SAMPLE_CELLS: Final = 64
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_DATETIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[ Tt]([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:\.([0-9]*))?)?)?"
    r"(?: ?([Zz]|[+-][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2})?)?))?)?"
)


class Zone:
    """Reads texts in a time zone (an IANA name).

    A time that is twice there is the earlier one; one that is skipped becomes the first moment after the
    gap: so order is kept.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def cast_datetimes(self, column: StringArray) -> TimestampArray:
        """All with an offset, all without, or all integers since 1970, as the first ones are. Raises
        ArrowInvalid otherwise: at once, since a cast that fails everywhere costs as much as parsing."""
        for text in column.slice(0, _SAMPLE_CELLS).to_pylist():
            if text is None:
                continue
            if _INTEGER.fullmatch(text):
                return _within_bounds(_cast_epochs(column))
            if found := _DATETIME.fullmatch(text):
                return _within_bounds(column.cast(_UTC_US) if found[8] else self._cast_naive(column))
        if column.null_count == len(column):
            return column.cast(_UTC_US)
        raise pa.ArrowInvalid("no date and time at the beginning")

    def parse_datetime(self, text: str) -> datetime | None:
        """Truncated to microseconds, UTC; None outside the years 1 to 9999 of UTC."""
        parsed = _parse(text.strip())
        if parsed is None or parsed.tzinfo is not None:
            return _in_utc(parsed)
        instant = _instant_us(parsed, ZoneInfo(self._name))
        return _EPOCH + timedelta(microseconds=instant) if _FIRST_US <= instant <= _LAST_US else None

    def cast_dates(self, column: StringArray) -> Date32Array:
        """Raises ArrowInvalid when a text is not just a date. Arrow has a year 0: it becomes null."""
        days = column.cast(pa.date32())
        if pc.any(pc.less(days, _FIRST_DAY)).as_py():
            return pc.if_else(pc.less(days, _FIRST_DAY), pa.scalar(None, pa.date32()), days)
        return days

    def parse_date(self, text: str) -> date | None:
        """Also the day of a date-time: as written when naive, that of the time zone otherwise."""
        stripped = text.strip()
        if _INTEGER.fullmatch(stripped):
            return None
        parsed = _parse(stripped)
        if parsed is None or parsed.tzinfo is None:
            return parsed.date() if parsed else None
        try:
            return parsed.astimezone(ZoneInfo(self._name)).date()
        except OverflowError:
            return None

    def _cast_naive(self, column: StringArray) -> TimestampArray:
        naive = column.cast(_US)
        if self._name == "UTC":
            return naive.cast(_UTC_US)
        if pc.any(pc.greater_equal(naive, _ARROW_ZONES_END)).as_py():
            raise pa.ArrowInvalid("beyond Arrow's rules of time zones")
        local = pc.assume_timezone(naive, self._name, ambiguous="earliest", nonexistent="latest")
        return local.cast(_UTC_US)


def canonical_datetimes(values: TimestampArray) -> StringArray:
    """`YYYY-MM-DDTHH:MM:SS.ffffffZ`."""
    texts = values.cast(_UTC_US).cast(_US).cast(pa.string())
    return pc.binary_join_element_wise(pc.binary_replace_slice(texts, 10, 11, "T"), "Z", "")


def _cast_epochs(column: StringArray) -> TimestampArray:
    """Seconds, milliseconds or microseconds since 1970, by magnitude: 11 digits of seconds reach the
    year 5138, 11 digits of milliseconds end in 1973."""
    numbers = cast_integers(column)
    size = pc.abs(numbers)
    seconds, millis = pc.less(size, 10**11), pc.less(size, 10**14)
    factor = pc.if_else(seconds, 1_000_000, pc.if_else(millis, 1_000, 1))
    return pc.multiply(numbers, factor).cast(_UTC_US)


def _within_bounds(values: TimestampArray) -> TimestampArray:
    ends: Any = pc.min_max(values.cast(pa.int64()))
    low, high = ends["min"].as_py(), ends["max"].as_py()
    if low is None or (low >= _FIRST_US and high <= _LAST_US):
        return values
    numbers = values.cast(pa.int64())
    fits = pc.and_(pc.greater_equal(numbers, _FIRST_US), pc.less_equal(numbers, _LAST_US))
    return pc.if_else(fits, values, pa.scalar(None, _UTC_US))


def _parse(text: str) -> datetime | None:
    """Aware or naive, as written; None when the text is none or there is no such day."""
    if _INTEGER.fullmatch(text):
        return _from_epoch(int(text))
    found = _DATETIME.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    micros = int(((found[7] or "") + "000000")[:6])
    try:
        return datetime(year, month, day, hour, minute, second, micros, tzinfo=_offset(found[8]))
    except ValueError:
        return None


def _instant_us(naive: datetime, zone: ZoneInfo) -> int:
    """Microseconds since 1970; may lie beyond the years 1 to 9999."""
    wall = (naive.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
    first, second = (_offset_us(naive.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    if first >= second:
        return wall - first
    before, after = wall - second, wall - first  # in a gap: it ended between these
    while after - before > 1:
        middle = (before + after) // 2
        at = (_EPOCH + timedelta(microseconds=middle)).astimezone(zone)
        before, after = (before, middle) if _offset_us(at) == second else (middle, after)
    return after


def _offset_us(moment: datetime) -> int:
    return (moment.utcoffset() or timedelta()) // _MICROSECOND


def _from_epoch(number: int) -> datetime | None:
    size = abs(number)
    factor = 1_000_000 if size < 10**11 else 1_000 if size < 10**14 else 1
    try:
        return _EPOCH + timedelta(microseconds=number * factor)
    except OverflowError:
        return None


def _offset(text: str | None) -> timezone | None:
    """Raises ValueError for an offset of a day or more, or with a part of 60 or more."""
    if text is None:
        return None
    if text in "Zz":
        return UTC
    digits = text[1:].replace(":", "")
    hours, minutes, seconds = int(digits[:2]), int(digits[2:4] or 0), int(digits[4:6] or 0)
    if minutes > 59 or seconds > 59:
        raise ValueError("offset")
    span = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return timezone(-span if text[0] == "-" else span)


def _in_utc(value: datetime | None) -> datetime | None:
    try:
        return value.astimezone(UTC) if value else None
    except OverflowError:
        return None
