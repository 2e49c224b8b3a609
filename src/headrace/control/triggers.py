"""What was asked for from outside: feeds that are to be polled once more, and who asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from headrace.control.engine import reading, writing
from headrace.control.key_requests import add_key_requests, set_again
from headrace.control.tables import feed, trigger_log
from headrace.control.types import now
from headrace.domain.vocabulary import AppId, FeedId, SourceId
from headrace.ports import Ask, Unmet

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
_ONE_LINE_S: Final = 60.0
_MOST_LINES: Final = 1000
_LONGEST: Final = 500

# Locked in order of id, as all do who lock several feeds.
_FEEDS = (
    sa.select(feed.c.id, feed.c.source_id, feed.c.app_id)
    .where(
        feed.c.state == "active",
        sa.tuple_(feed.c.source_id, feed.c.app_id).in_(sa.bindparam("feeds", expanding=True)),
    )
    .order_by(feed.c.id)
)
_PAUSED = (
    sa.select(feed.c.paused, feed.c.paused_reason)
    .where(
        feed.c.state == "active",
        sa.tuple_(feed.c.source_id, feed.c.app_id).in_(sa.bindparam("feeds", expanding=True)),
    )
    .order_by(feed.c.source_id, feed.c.app_id)
)
_INSERT = sa.insert(trigger_log).values(at=now()).returning(trigger_log.c.id)
_ADD = (
    sa.update(trigger_log)
    .where(trigger_log.c.id == sa.bindparam("of_line"))
    .values(
        requests=trigger_log.c.requests + sa.bindparam("more_requests"),
        keys=trigger_log.c["keys"] + sa.bindparam("more_keys"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A line of the log: so many equal requests, within a minute of `at`, and what became of them.

    Attributes:
        source_id: empty where the request named none.
        keys: of all the requests together; 0: they asked for all that has changed.
        reason: why they were rejected, with the code.
    """

    id: int
    at: datetime
    asked_by: str
    source_id: str
    app_id: str | None
    customer: str | None
    keys: int
    requests: int
    outcome: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class _Line:
    """What lines are told apart by."""

    asked_by: str
    source_id: str
    app_id: str | None
    customer: str | None
    outcome: str
    reason: str | None = None


class SqlTriggers:
    """Implements `ports.Triggers`. Thread-safe."""

    def __init__(self, engine: sa.Engine, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._open: dict[_Line, int] = {}
        self._open_until = float("-inf")

    def record(self, asks: Sequence[Ask], unmet: Sequence[Unmet] = ()) -> list[FeedId]:
        lines = _counted([*map(_met, asks), *map(_refused, unmet)])
        with self._lock:
            known = dict(self._open) if self._monotonic() < self._open_until else {}
        with writing(self._engine) as connection:
            found = self._ask(connection, asks) if asks else []
            written = {line: self._tell(connection, line, known.get(line), *n) for line, n in lines.items()}
        self._remember(written)
        return found

    def paused_reason(self, feeds: Collection[tuple[SourceId, AppId]]) -> str | None:
        with reading(self._engine) as connection:
            found = connection.execute(_PAUSED, {"feeds": sorted(feeds)}).all()
        return (found[0].paused_reason or "") if found and all(row.paused for row in found) else None

    def told(
        self,
        *,
        limit: int,
        source_id: str | None = None,
        outcome: str | None = None,
        since: datetime | None = None,
    ) -> list[Told]:
        """What was asked for, the newest first: all of it, or of one source, of one outcome, or not older."""
        columns = [trigger_log.c[name] for name in Told.__slots__]
        newest = sa.select(*columns).order_by(trigger_log.c.at.desc(), trigger_log.c.id.desc()).limit(limit)
        if source_id is not None:
            newest = newest.where(trigger_log.c.source_id == source_id)
        if outcome is not None:
            newest = newest.where(trigger_log.c.outcome == outcome)
        if since is not None:
            newest = newest.where(trigger_log.c.at >= since)
        with reading(self._engine) as connection:
            return [Told(**row) for row in connection.execute(newest).mappings()]

    def _ask(self, connection: sa.Connection, asks: Sequence[Ask]) -> list[FeedId]:
        wanted = sorted({each for ask in asks for each in ask.feeds})
        feeds = connection.execute(_FEEDS, {"feeds": wanted}).all()
        for row in feeds:
            keys = [
                key
                for ask in asks
                if ask.keys is not None and (row.source_id, row.app_id) in ask.feeds
                for key in ask.keys
            ]
            if keys:
                add_key_requests(connection, FeedId(row.id), keys)
            else:
                set_again(connection, FeedId(row.id))
        return [FeedId(row.id) for row in feeds]

    def _tell(
        self, connection: sa.Connection, line: _Line, known: int | None, requests: int, keys: int
    ) -> int:
        """The line tells of so many more; gives its id."""
        if known is not None:
            more = {"of_line": known, "more_requests": requests, "more_keys": keys}
            if connection.execute(_ADD, more).rowcount:
                return known
        values = {name: getattr(line, name) for name in _Line.__slots__}
        return int(connection.execute(_INSERT, {**values, "requests": requests, "keys": keys}).scalar_one())

    def _remember(self, written: dict[_Line, int]) -> None:
        with self._lock:
            now_s = self._monotonic()
            if now_s >= self._open_until or len(self._open) > _MOST_LINES:
                self._open, self._open_until = {}, now_s + _ONE_LINE_S
            self._open |= written


def _counted(told: Iterable[tuple[_Line, int]]) -> dict[_Line, tuple[int, int]]:
    """Requests and keys by line."""
    counted: dict[_Line, tuple[int, int]] = {}
    for line, keys in told:
        requests, before = counted.get(line, (0, 0))
        counted[line] = requests + 1, before + keys
    return counted


def _met(ask: Ask) -> tuple[_Line, int]:
    return _Line(ask.by, ask.source, ask.app, ask.customer, ACCEPTED), len(ask.keys or ())


def _refused(unmet: Unmet) -> tuple[_Line, int]:
    reason = f"{unmet.code}: {unmet.reason}"[:_LONGEST]
    return _Line(unmet.by, unmet.source, unmet.app, unmet.customer, REJECTED, reason), 0
