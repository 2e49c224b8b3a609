"""A control database with two data sources and two feeds, and short ways to say what a test needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import sqlalchemy as sa

from headrace.control.command import SqlCommands
from headrace.control.definitions import SqlDefinitions
from headrace.control.engine import writing
from headrace.control.feeds import SqlFeeds
from headrace.control.journal import SqlJournal
from headrace.control.routes import SqlRoutes
from headrace.control.runs import SqlRuns
from headrace.control.schedule import SqlSchedule
from headrace.control.status import FeedStatus, SqlStatus
from headrace.control.sweep import SqlSweep
from headrace.control.triggers import SqlTriggers
from headrace.domain.position import Position
from headrace.domain.vocabulary import (
    AppId,
    BatchId,
    BatchKind,
    DataSourceId,
    FeedId,
    ModelId,
    RunId,
    SourceId,
)
from headrace.ports import (
    AppliedFeed,
    Ask,
    ClaimedFeed,
    FeedLog,
    FeedState,
    JournalEntry,
    NewBatch,
    PollOutcome,
    RejectedRow,
)

MAIN, SIDE = DataSourceId("main"), DataSourceId("side")
USERS_MODEL = ModelId("users")
LEASE_S = 60.0

BODIES: dict[tuple[str, str], Any] = {
    ("visibility_groups", "production"): {"name": "Production"},
    ("schemas", "shop"): {"name": "Shop"},
    ("models", "users"): {"name": "Users", "schema": "shop"},
    ("data_sources", "main"): {
        "nickname": "Main",
        "schema": "shop",
        "default_for": ["production"],
        "type": "sqlite",
        "url": "${MAIN_URL}",
    },
    ("data_sources", "side"): {
        "nickname": "Side",
        "schema": "shop",
        "type": "sqlite",
        "url": "${SIDE_URL}",
    },
}

USERS = AppliedFeed(
    source_id=SourceId("users"),
    app_id=AppId("shop_db"),
    model_id=USERS_MODEL,
    fingerprint="columns-1",
    shape_fingerprint="shape-1",
    every_s=60.0,
    reconcile_every_s=3600.0,
)
PURCHASES = replace(USERS, source_id=SourceId("purchases"))


def rows(to: DataSourceId = MAIN, *, payload: bytes = b"arrow", kind: BatchKind = BatchKind.ROWS) -> NewBatch:
    return NewBatch(data_source_id=to, kind=kind, rows=2, payload=payload, meta={"n": 1})


def rejected(key: str = '["1"]', code: str = "bad_key") -> RejectedRow:
    return RejectedRow(key=key, code=code, reason="it does not fit", raw='{"id": "1"}')


@dataclass(slots=True)
class Control:
    """Everything that works on one control database."""

    engine: sa.Engine
    feeds: SqlFeeds = field(init=False)
    journal: SqlJournal = field(init=False)
    routes: SqlRoutes = field(init=False)
    definitions: SqlDefinitions = field(init=False)
    schedule: SqlSchedule = field(init=False)
    sweep: SqlSweep = field(init=False)
    runs: SqlRuns = field(init=False)
    status: SqlStatus = field(init=False)
    commands: SqlCommands = field(init=False)
    triggers: SqlTriggers = field(init=False)
    _runs: Any = field(init=False)

    def __post_init__(self) -> None:
        self.feeds = SqlFeeds(self.engine)
        self.journal = SqlJournal(self.engine)
        self.routes = SqlRoutes(self.engine)
        self.definitions = SqlDefinitions(self.engine)
        self.schedule = SqlSchedule(self.engine)
        self.sweep = SqlSweep(self.engine)
        self.runs = SqlRuns(self.engine)
        self.status = SqlStatus(self.engine)
        self.commands = SqlCommands(self.engine)
        self.triggers = SqlTriggers(self.engine)
        self._runs = count(1)

    def apply(self, *feeds: AppliedFeed, bodies: dict[tuple[str, str], Any] = BODIES) -> int:
        return self.definitions.publish(bodies, '{"compiled": true}', feeds)

    def feed(self, source_id: str = "users") -> FeedId:
        (found,) = self.commands.feeds(source_id)
        return found

    def asked(self, source_id: str = "users", *keys: tuple[str, ...]) -> Sequence[FeedId]:
        """Somebody asks for the source to be read now: these keys, or what has changed."""
        source = SourceId(source_id)
        ask = Ask(by="test", source=source, feeds=((source, USERS.app_id),), keys=keys or None)
        return self.triggers.record([ask])

    def seen(self, source_id: str = "users") -> FeedStatus:
        return next(s for s in self.status.feed_status() if s.source_id == source_id)

    def claimed(self, source_id: str = "users") -> ClaimedFeed:
        claimed = self.feeds.claim(self.feed(source_id), lease_s=LEASE_S)
        assert claimed is not None
        return claimed

    def append(
        self,
        claimed: ClaimedFeed,
        *batches: NewBatch,
        run: str = "",
        cursor: str = "2026-01-01",
        **fields: Any,
    ) -> tuple[BatchId, ...]:
        state = fields.pop("state", None) or FeedState(lead=Position(cursor, ("1",)))
        entry = JournalEntry(
            run_id=RunId(run or f"run-{claimed.lease.feed_id}-{claimed.lease.epoch}"),
            trigger="schedule",
            state=state,
            batches=batches,
            rows_read=2 * len(batches),
            **fields,
        )
        return self.feeds.append(claimed.lease, entry, lease_s=LEASE_S)

    def release(
        self, claimed: ClaimedFeed, *, error: str | None = None, stop: bool = False, retryable: bool = False
    ) -> bool:
        run = RunId(f"run-{claimed.lease.feed_id}-{claimed.lease.epoch}")
        outcome = PollOutcome(
            run_id=run, succeeded=error is None, error=error, stop=stop, retryable=retryable
        )
        return self.feeds.release(claimed.lease, outcome)

    def journalled(self, *batches: NewBatch, **fields: Any) -> tuple[FeedLog, tuple[BatchId, ...]]:
        """A poll of users that wrote these batches, and its log in `main`."""
        claimed = self.claimed()
        ids = self.append(claimed, *batches, **fields)
        self.release(claimed)
        return self.log(), ids

    def log(self, data_source_id: DataSourceId = MAIN, source_id: str = "users") -> FeedLog:
        logs = self.journal.logs(data_source_id, USERS_MODEL)
        return next(log for log in logs if log.source_id == source_id)

    def waiting(self, log: FeedLog, after_seq: int = 0) -> Sequence[int]:
        found = self.journal.waiting(log, after_seq=after_seq, max_batches=100, max_bytes=10**6)
        return [batch.seq for batch in found]

    def expire(self, source_id: str = "users") -> None:
        """The lease's time passes, if there is one."""
        lease = "lease_until = '2020-01-01T00:00:00.000Z' WHERE lease_id IS NOT NULL"
        self.write(f"UPDATE feed SET {lease} AND source_id = :source_id", source_id=source_id)

    def set_feed(self, source_id: str = "users", **values: Any) -> None:
        """Move times into the past, which only waiting would do otherwise."""
        assignments = ", ".join(f"{name} = :{name}" for name in values)
        statement = f"UPDATE feed SET {assignments} WHERE source_id = :source_id AND state = 'active'"
        self.write(statement, source_id=source_id, **values)

    def write(self, statement: str, **values: Any) -> None:
        with writing(self.engine) as connection:
            connection.execute(sa.text(statement), values)

    def count(self, table: str, where: str = "true") -> int:
        with self.engine.connect() as connection:
            return connection.execute(sa.text(f"SELECT count(*) FROM {table} WHERE {where}")).scalar_one()
