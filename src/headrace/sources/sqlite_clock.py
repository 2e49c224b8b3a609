"""SQLite's clock as a value of a cursor column, rendered as the column's own values are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from math import floor
from typing import Final
from zoneinfo import ZoneInfo

from headrace.sources.sqlite_value import Value
from headrace.sources.wall_clock import lowered_wall, raised_wall

_TEXT: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:(?P<separator>[ T])\d\d:\d\d(?P<seconds>:\d\d(?:\.(?P<fraction>\d{1,6}))?)?"
    r"(?P<offset>Z|\+00:00)?)?"
)
_PLAUSIBLE_YEARS: Final = (1990, 2200)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFormat:
    """`separator` is None for dates; `digits` of the fraction, -1 for times without seconds."""

    separator: str | None
    digits: int
    offset: str

    def render(self, moment: datetime, zone: tzinfo) -> str:
        """The moment (aware) in the zone, or in UTC where the format has an offset; cut to its digits."""
        local = moment.astimezone(UTC if self.offset else zone)
        return self.render_wall(local.replace(tzinfo=None))

    def render_wall(self, wall: datetime) -> str:
        if self.separator is None:
            return wall.strftime("%Y-%m-%d")
        clock = wall.strftime("%H:%M" if self.digits < 0 else "%H:%M:%S")
        fraction = f".{wall.microsecond:06d}"[: self.digits + 1] if self.digits > 0 else ""
        return f"{wall:%Y-%m-%d}{self.separator}{clock}{fraction}{self.offset}"


@dataclass(frozen=True, slots=True)
class EpochFormat:
    """Numbers since 1970: `per_second` of them a second, whole or not."""

    per_second: int
    whole: bool

    def render(self, moment: datetime) -> str:
        micros = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        if self.whole:
            return str(micros * self.per_second // 1_000_000)
        return repr(micros * self.per_second / 1_000_000)


Format = TextFormat | EpochFormat


def recognise(values: tuple[Value, ...]) -> Format | None:
    """The one format that all of these values of a column have; None: none, or different ones. Texts may
    differ in the digits of their fraction (`isoformat` leaves out a zero one): the most digits count."""
    formats = [_recognise_one(value) for value in values]
    first = formats[0] if formats else None
    if first is None or None in formats:
        return None
    if isinstance(first, EpochFormat):
        return first if all(found == first for found in formats) else None
    texts = [found for found in formats if isinstance(found, TextFormat)]
    same = len(texts) == len(formats) and len({(t.separator, t.offset) for t in texts}) == 1
    return max(texts, key=lambda t: t.digits) if same else None


def _recognise_one(value: Value) -> Format | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        found = _TEXT.fullmatch(value)
        if found is None:
            return None
        digits = len(found["fraction"] or "") if found["seconds"] else -1
        return TextFormat(separator=found["separator"], digits=digits, offset=found["offset"] or "")
    first, last = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in _PLAUSIBLE_YEARS)
    for per_second in (1, 1_000, 1_000_000):
        if first * per_second <= value < last * per_second:
            return EpochFormat(per_second, isinstance(value, int))
    return None


def default_format(declared: str) -> TextFormat | None:
    """What a column of this declared type will hold when it holds nothing yet."""
    if declared.strip().upper() == "DATE":
        return TextFormat(separator=None, digits=0, offset="")
    return None


def render_moment(found: Format, moment: datetime, zone_name: str) -> str:
    """The moment as a column of this format holds it."""
    if isinstance(found, EpochFormat):
        return found.render(moment)
    return found.render(moment, ZoneInfo(zone_name))


def render_clock(
    found: Format, now: datetime, zone_name: str, *, skew: timedelta = timedelta()
) -> tuple[str, str | None]:
    """The clock, ahead by the skew, and a bound below which no later local time can fall.

    The bound is None except for local times within three hours of a fall-back: they run twice there, so
    the clock goes up by the shift after it, and what is saved stays below the shift before it.
    """
    if isinstance(found, EpochFormat):
        return found.render(now + skew), None
    if found.offset or found.separator is None:
        return found.render(now + skew, ZoneInfo(zone_name)), None
    lowest, highest = lowered_wall(now, zone_name), raised_wall(now, zone_name)
    clock = found.render_wall(highest + skew)
    if lowest == highest:
        return clock, None
    return clock, found.render_wall(lowest - 2 * skew - timedelta(seconds=1))


def render_floor(found: Format, moment: datetime, zone_name: str) -> str:
    """A value below every one that a clock shows from the moment on, a second at least."""
    before = moment - timedelta(seconds=1)
    clock, bound = render_clock(found, before, zone_name)
    return clock if bound is None else bound


def earlier(found: Format, value: Value, *, by: timedelta) -> str | None:
    """A value of the column so much earlier, or a little more; None when it is none of its times."""
    if isinstance(found, EpochFormat):
        if isinstance(value, str | bytes):
            return None
        micros = by // timedelta(microseconds=1)
        lower = value - micros * found.per_second / 1_000_000
        return str(floor(lower)) if found.whole else repr(lower)
    text = value.decode() if isinstance(value, bytes) else str(value)
    try:
        wall = datetime.fromisoformat(text.removesuffix(found.offset) if found.offset else text)
    except ValueError:
        return None
    return found.render_wall(wall - by)
