"""When a feed is due, and how long to wait after failures. Time and chance are arguments."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cronsim import CronSim, CronSimError

from headrace.domain.vocabulary import FeedId

_UNITS_MS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_DURATION: Final = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")
_MAX_MS: Final = 100 * 366 * _UNITS_MS["d"]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

BACKOFF_MIN_S: Final = 1.0
BACKOFF_MAX_S: Final = 300.0


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span as definitions write it: `<integer>(ms|s|m|h|d)`, more than nothing, at most 100 years."""

    milliseconds: int

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Raises ValueError, its message for a person."""
        found = _DURATION.fullmatch(text)
        milliseconds = int(found[1]) * _UNITS_MS[found[2]] if found else 0
        if not 0 < milliseconds <= _MAX_MS:
            raise ValueError(f'"{text}" is not a duration such as 500ms, 30s, 5m, 1h or 1d')
        return cls(milliseconds)

    def __str__(self) -> str:
        """In the greatest unit that divides it: `parse` reads it back."""
        unit, size = next((u, ms) for u, ms in _UNITS_MS.items() if self.milliseconds % ms == 0)
        return f"{self.milliseconds // size}{unit}"

    @property
    def seconds(self) -> float:
        return self.milliseconds / 1000

    @property
    def span(self) -> timedelta:
        return timedelta(milliseconds=self.milliseconds)


def next_due(feed_id: FeedId, *, every_s: float | None, cron: str | None, after: datetime) -> datetime | None:
    """The first due time later than `after`; None for a feed that is only polled when asked."""
    if every_s is not None:
        return next_tick(Duration(round(every_s * 1000)), feed_id, after=after)
    return None if cron is None else next_cron(cron, after=after)


def next_tick(every: Duration, feed_id: FeedId, *, after: datetime) -> datetime:
    """The first tick of the feed later than `after` (aware), in UTC.

    Ticks lie on a grid from 1970 that is shifted by `jitter`: schedulers agree without asking each other, and
    of the ticks that were missed only one comes next.
    """
    origin = _EPOCH + jitter(every, feed_id)
    return origin + ((after - origin) // every.span + 1) * every.span


def jitter(every: Duration, feed_id: FeedId) -> timedelta:
    """The same for a feed always, anywhere in its interval: so many feeds of one interval are as much work
    at any time of it. (`cron` is for who wants to say when; `every` says how often.)"""
    word = int.from_bytes(hashlib.blake2b(feed_id.encode(), digest_size=8).digest())
    return timedelta(milliseconds=word * every.milliseconds >> 64)


def next_cron(expression: str, *, after: datetime) -> datetime:
    """The first minute later than `after` (aware) that the cron expression names, in UTC.

    Raises ValueError when it is no cron expression, or names no minute of the next 50 years.
    """
    try:
        return next(CronSim(expression, after.astimezone(UTC)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f'"{expression}" is not a cron expression that comes due') from error


def backoff_s(failures: int, chance: random.Random) -> float:
    """Seconds to wait after so many failures in a row: full jitter between 1 s and 2 to the power of
    `failures`, at most 5 minutes, so that what failed together does not return together."""
    most_s = min(BACKOFF_MAX_S, 2.0 ** min(max(failures, 1), 30))
    return chance.uniform(BACKOFF_MIN_S, most_s)
