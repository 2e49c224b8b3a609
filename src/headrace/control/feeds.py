"""Leases, positions and the feed's side of the journal (the port `Feeds`)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa

from headrace.control import append, log_cut
from headrace.control.append import HOLDS, RENEW, holder
from headrace.control.engine import reading, single, writing
from headrace.control.feed_moves import feed_moves, has_moves, note_move, settles
from headrace.control.new_id import new_uuid as new_uuid
from headrace.control.newcomers import note_newcomers
from headrace.control.pausing import paused, paused_for_failures
from headrace.control.state import feed_class_of, state_of
from headrace.control.tables import (
    PausedBy,
    RunState,
    batch,
    feed,
    feed_log,
    key_request,
    rejected_row,
    run,
)
from headrace.control.types import Timestamp, from_now, now, seconds_named
from headrace.domain.schedule import backoff_s, next_due
from headrace.domain.vocabulary import AppId, BatchId, DataSourceId, FeedId, LeaseId, SourceId
from headrace.ports import (
    ClaimedFeed,
    FeedMemory,
    FeedMove,
    JournalEntry,
    KeyRequest,
    Lease,
    PollOutcome,
    RejectedRow,
    RowSetAside,
)

_REJECTED_KEYS = 10_000
"""As many open rejected rows of a feed as a reader keeps in mind; the others close when replayed."""

INCOMPLETE_AGAIN_S = 0.5
"""A feed that left its source before the end is due again after this time."""


def _exists(table: sa.Table, *which: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """There is such a row of the feed."""
    return sa.exists().where(table.c.feed_id == sa.bindparam("of_feed"), *which)


_TOLD_AT_CLAIM = sa.or_(feed_log.c.wants_reconcile, feed_log.c.cut_at.is_not(None))
_IS_OPEN_HERE = sa.and_(rejected_row.c.refused_by == "", rejected_row.c.state == "open")
_OF_FEED = feed.c.id == sa.bindparam("of_feed")
_MAY_RUN = sa.and_(_OF_FEED, feed.c.state == "active", sa.not_(feed.c.paused))
_TAKE = (
    sa.update(feed)
    .where(_MAY_RUN, sa.or_(feed.c.lease_id.is_(None), feed.c.lease_until < now()))
    .values(
        epoch=feed.c.epoch + 1,
        lease_id=sa.bindparam("taken_by"),
        lease_until=from_now(seconds_named("lease_s")),
        again=False,
        sent_at=None,
    )
    .returning(
        feed,
        (feed.c.reconcile_due_at <= now()).label("reconcile_is_due"),
        (feed.c.next_due <= now()).label("is_due"),
        has_moves().label("has_moves"),
        now().label("claimed_at"),
    )
)
# What mostly is not there is asked for by no statement of its own. It is asked after the lease was taken: the
# snapshot of a statement that waited for the feed's row lacks what was committed meanwhile, and whoever asked
# for it has had `again` cleared (tests/conformance/control/test_control_claim.py).
_WAITING = sa.select(
    _exists(run, run.c.state == RunState.RUNNING.value).label("lost_run"),
    _exists(feed_log, _TOLD_AT_CLAIM).label("logs"),
    _exists(key_request).label("requests"),
    _exists(rejected_row, _IS_OPEN_HERE).label("rejected"),
    _exists(batch, batch.c.state == "pending").label("batches"),
    settles().label("settles"),
)
_ASK_AGAIN = sa.update(feed).where(_MAY_RUN).values(again=True)
_END_LOST_RUNS = (
    sa.update(run)
    .where(run.c.feed_id.in_(sa.bindparam("of_feeds", expanding=True)), run.c.state == RunState.RUNNING.value)
    .values(state=RunState.INCOMPLETE.value, ended_at=now(), error="its lease was lost")
)
_LOGS = (
    sa.select(feed_log.c.data_source_id)
    .where(feed_log.c.feed_id == sa.bindparam("of_feed"))
    .order_by("data_source_id")
)
_LOGS_AT_CLAIM = _LOGS.add_columns(feed_log.c.cut_at.is_not(None).label("is_cut")).where(_TOLD_AT_CLAIM)

_HELD = sa.select(feed, now().label("now")).where(HOLDS)
_HOLD = sa.select(feed).where(HOLDS).with_for_update()
_GIVE_BACK = (
    sa.update(feed)
    .where(HOLDS)
    .values(lease_id=None, lease_until=None, checked_at=now())
    .returning(feed.c.again)
)
_GIVE_BACK_WELL = _GIVE_BACK.values(failures=0, lasting_failures=0, last_error=None, last_success_at=now())
_GIVE_BACK_COMPLETE = _GIVE_BACK_WELL.values(next_due=sa.bindparam("due", type_=Timestamp()))
_GIVE_BACK_AS_PLANNED = _GIVE_BACK_COMPLETE.where(
    feed.c.every_s.is_not_distinct_from(sa.bindparam("by_every_s", type_=sa.Double())),
    feed.c.cron.is_not_distinct_from(sa.bindparam("by_cron", type_=sa.Text())),
)
_GIVE_BACK_INCOMPLETE = _GIVE_BACK_WELL.values(next_due=from_now(INCOMPLETE_AGAIN_S))
_GIVE_BACK_FAILED = _GIVE_BACK.values(
    failures=feed.c.failures + 1,
    lasting_failures=sa.bindparam("lasting", type_=sa.Integer()),
    last_error=sa.bindparam("why"),
    next_due=from_now(seconds_named("wait_s")),
)
_END_RUN = (
    sa.update(run)
    .where(run.c.id == sa.bindparam("of_run"))
    .values(state=sa.bindparam("ended"), error=sa.bindparam("why"), ended_at=now())
)
_FAILED_RUN = sa.insert(run).values(state=RunState.FAILED.value, started_at=now(), ended_at=now())

_AGAIN = sa.select(feed.c.again).where(_OF_FEED)
_APP = sa.select(feed.c.app_id).where(_OF_FEED)
_RUNNABLE = sa.select(feed.c.id).where(_MAY_RUN)
_KEY_REQUESTS = (
    sa.select(key_request.c.id, key_request.c.key)
    .where(key_request.c.feed_id == sa.bindparam("of_feed"))
    .order_by(key_request.c.id)
    .limit(sa.bindparam("at_most", type_=sa.Integer()))
)
_OPEN_REJECTED_KEYS = (
    sa.select(rejected_row.c.key)
    .where(rejected_row.c.feed_id == sa.bindparam("of_feed"), _IS_OPEN_HERE)
    .limit(_REJECTED_KEYS)
)
_IS_DISCARDED = sa.and_(rejected_row.c.state == "discarded", rejected_row.c.refused_by != "")
_ROWS_SET_ASIDE = (
    sa.select(rejected_row)
    .where(
        rejected_row.c.feed_id == sa.bindparam("of_feed"),
        rejected_row.c.id > sa.bindparam("after_id", type_=sa.BigInteger()),
        sa.or_(rejected_row.c.state == "open", _IS_DISCARDED),
    )
    .order_by(rejected_row.c.id)
    .limit(sa.bindparam("at_most", type_=sa.Integer()))
)
_BLOCKED = (
    sa.select(batch.c.data_source_id)
    .where(batch.c.feed_id == sa.bindparam("of_feed"), batch.c.state == "pending")
    .group_by(batch.c.data_source_id)
    .having(
        sa.or_(
            sa.func.count() >= sa.bindparam("batches", type_=sa.BigInteger()),
            sa.func.sum(batch.c.payload_bytes) >= sa.bindparam("bytes", type_=sa.BigInteger()),
        )
    )
)


class SqlFeeds:
    """Feeds in the control database. Safe to share between threads.

    Args:
        new_id: makes ids of leases, logs and batches; random, never used twice.
        chance: for backoff.
        pause_after: a feed is paused by so many failures in a row that no repetition mends; 0: never.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        new_id: Callable[[], str] = new_uuid,
        chance: random.Random | None = None,
        pause_after: int = 0,
    ) -> None:
        self._engine = engine
        self._pause_after = pause_after
        self._new_id = new_id
        self._chance = chance or random.Random()  # noqa: S311 (jitter)

    def claim(self, feed_id: FeedId, *, lease_s: float) -> ClaimedFeed | None:
        of_feed = {"of_feed": feed_id}
        taking = {**of_feed, "taken_by": self._new_id(), "lease_s": lease_s}
        with single(self._engine) as connection:
            row = connection.execute(_TAKE, taking).one_or_none()
            if row is None:
                # Whatever the lease is by now: a tick too many is harmless, a lost one is not.
                connection.execute(_ASK_AGAIN, of_feed)
                return None
            waiting = connection.execute(_WAITING, of_feed).mappings().one()
            logs = connection.execute(_LOGS_AT_CLAIM, of_feed).all() if waiting["logs"] else ()
        claimed = _claimed(row, logs, waiting)
        if waiting["lost_run"]:
            self._end_lost_run(claimed.lease)
        return claimed

    def _end_lost_run(self, lease: Lease) -> None:
        """Who dies before this leaves the run to whoever takes the lease next. Under the lease: a slow worker
        would end the run of the one who took it over."""
        with writing(self._engine) as connection:
            if connection.execute(_HOLD, holder(lease)).one_or_none() is not None:
                end_run_of_lost_lease(connection, lease.feed_id)

    def renew(self, lease: Lease, *, lease_s: float) -> None:
        with writing(self._engine) as connection:
            if connection.execute(RENEW, {**holder(lease), "lease_s": lease_s}).rowcount == 0:
                raise append.lease_lost(lease)

    def append(self, lease: Lease, entry: JournalEntry, *, lease_s: float) -> tuple[BatchId, ...]:
        with writing(self._engine) as connection:
            held = append.open_entry(connection, lease, lease_s=lease_s)
            if entry.routing_version is not None:
                append.hold_routing(connection, entry.routing_version)
            note_newcomers(connection, entry.newcomers)
            origin = append.Origin(entry.run_id, entry.changed_at, entry.traceparent)
            ids = append.append_batches(connection, held, entry.batches, origin=origin, new_id=self._new_id)
            note_move(connection, lease.feed_id, entry)
            append.set_aside(connection, lease.feed_id, entry)
            append.answer_requests(connection, lease.feed_id, entry.answered_requests)
            append.count_run(connection, held, entry)
            append.write_state(connection, held, lease, entry)
        return ids

    def release(self, lease: Lease, outcome: PollOutcome) -> bool:
        planned = outcome.next
        if planned is not None and outcome.succeeded and outcome.complete and not outcome.has_run:
            by = {"due": planned.at, "by_every_s": planned.every_s, "by_cron": planned.cron}
            values = {**holder(lease), **_columns_of(outcome.memory), **by}
            with single(self._engine) as connection:
                row = connection.execute(_GIVE_BACK_AS_PLANNED, values).one_or_none()
            if row is not None:
                return bool(row.again)
        with writing(self._engine) as connection:
            held = connection.execute(_HELD, holder(lease)).one_or_none()
            if held is None:
                return False
            statement, values = self._after_poll(held, outcome)
            row = connection.execute(statement, {**holder(lease), **values}).one_or_none()
            if row is None:
                return False
            _end_run(connection, lease.feed_id, outcome)
        return bool(row.again)

    def _after_poll(self, held: sa.Row[Any], outcome: PollOutcome) -> tuple[sa.Executable, dict[str, Any]]:
        """What gives the lease back, and its parameters."""
        if outcome.succeeded and not outcome.complete:
            return _GIVE_BACK_INCOMPLETE, _columns_of(outcome.memory)
        if outcome.succeeded:
            due = next_due(held.id, every_s=held.every_s, cron=held.cron, after=held.now)
            return _GIVE_BACK_COMPLETE, _columns_of(outcome.memory) | {"due": due}
        # An older process forgets the lasting ones alone when a poll of its own succeeds.
        lasting = min(held.lasting_failures, held.failures) + (not outcome.retryable)
        wait_s = backoff_s(held.failures + 1, self._chance)
        values = {"why": outcome.error, "wait_s": wait_s, "lasting": lasting}
        if outcome.stop:
            reason = outcome.error or "the source no longer fits its definition"
            stopped = paused(PausedBy.DRIFT, reason)
            # What is done to a table moves no cursor: when it fits again, only a comparison tells what it
            # holds.
            stopped |= {"reconcile_wanted": "full", "reconcile_asked_epoch": held.epoch}
            return _GIVE_BACK_FAILED.values(stopped), values
        if outcome.retryable or not 0 < self._pause_after <= lasting:
            return _GIVE_BACK_FAILED, values
        reason = f"{lasting} polls in a row failed, which no repetition mends: {outcome.error}"
        return _GIVE_BACK_FAILED.values(paused_for_failures(reason)), values

    def is_asked_again(self, feed_id: FeedId) -> bool:
        """Somebody asked for another poll since the last one took its lease."""
        with reading(self._engine) as connection:
            return bool(connection.execute(_AGAIN, {"of_feed": feed_id}).scalar_one_or_none())

    def is_paused(self, feed_id: FeedId) -> bool:
        """No poll of it will begin: it is paused, or has ended."""
        with reading(self._engine) as connection:
            return connection.execute(_RUNNABLE, {"of_feed": feed_id}).one_or_none() is None

    def app_of(self, feed_id: FeedId) -> AppId | None:
        """The app that the feed is read from, which never changes; None for one that is not known."""
        with reading(self._engine) as connection:
            found: AppId | None = connection.execute(_APP, {"of_feed": feed_id}).scalar_one_or_none()
        return found

    def key_requests(self, feed_id: FeedId, *, limit: int) -> tuple[KeyRequest, ...]:
        with reading(self._engine) as connection:
            rows = connection.execute(_KEY_REQUESTS, {"of_feed": feed_id, "at_most": limit}).all()
        return tuple(KeyRequest(row.id, tuple(json.loads(row.key))) for row in rows)

    def moves(self, feed_id: FeedId) -> tuple[FeedMove, ...]:
        with reading(self._engine) as connection:
            return feed_moves(connection, feed_id)

    def open_rejected_keys(self, feed_id: FeedId) -> frozenset[str]:
        with reading(self._engine) as connection:
            return frozenset(connection.execute(_OPEN_REJECTED_KEYS, {"of_feed": feed_id}).scalars())

    def rows_set_aside(self, feed_id: FeedId, *, after: int, limit: int) -> tuple[RowSetAside, ...]:
        which = {"of_feed": feed_id, "after_id": after, "at_most": limit}
        with reading(self._engine) as connection:
            return tuple(_row_set_aside(row) for row in connection.execute(_ROWS_SET_ASIDE, which))

    def written_data_sources(self, feed_id: FeedId) -> tuple[DataSourceId, ...]:
        with reading(self._engine) as connection:
            return tuple(connection.execute(_LOGS, {"of_feed": feed_id}).scalars())

    def blocked_data_sources(
        self, feed_id: FeedId, *, max_batches: int, max_bytes: int
    ) -> frozenset[DataSourceId]:
        values = {"of_feed": feed_id, "batches": max_batches, "bytes": max_bytes}
        with reading(self._engine) as connection:
            return frozenset(connection.execute(_BLOCKED, values).scalars())

    def cut_stalled(self, lease: Lease, over: Collection[DataSourceId]) -> frozenset[DataSourceId]:
        with writing(self._engine) as connection:
            held = connection.execute(_HOLD, holder(lease)).one_or_none()
            if held is None:
                raise append.lease_lost(lease)
            return log_cut.cut_stalled(connection, held, over, new_id=self._new_id)


def _row_set_aside(row: sa.Row[Any]) -> RowSetAside:
    return RowSetAside(
        id=row.id,
        row=RejectedRow(key=row.key, code=row.code, reason=row.reason, raw=row.raw),
        refused=row.refused_by != "",
        discarded=row.state == "discarded",
    )


def _claimed(row: sa.Row[Any], logs: Sequence[sa.Row[Any]], waiting: sa.RowMapping) -> ClaimedFeed:
    reconcile = row.reconcile_wanted
    if row.reconcile_is_due and reconcile != "full":
        reconcile = row.reconcile_kind
    return ClaimedFeed(
        lease=Lease(FeedId(row.id), row.epoch, LeaseId(row.lease_id)),
        source_id=SourceId(row.source_id),
        app_id=AppId(row.app_id),
        state=state_of(row),
        reconcile=reconcile,
        reconcile_into=tuple(DataSourceId(log.data_source_id) for log in logs if not log.is_cut),
        confirm=row.reconcile_confirm,
        fingerprint=row.fingerprint,
        definition_version=row.definition_version,
        due=bool(row.is_due),
        feed_class=feed_class_of(row),
        source_seen=row.source_seen,
        has_moves=bool(row.has_moves),
        cut=tuple(DataSourceId(log.data_source_id) for log in logs if log.is_cut),
        claimed_at=row.claimed_at,
        every_s=row.every_s,
        cron=row.cron,
        has_requests=bool(waiting["requests"]),
        has_open_rejected=bool(waiting["rejected"]),
        has_pending=bool(waiting["batches"]),
        settles=bool(waiting["settles"]),
    )


def _columns_of(memory: FeedMemory | None) -> dict[str, Any]:
    if memory is None:
        return {}
    columns: dict[str, Any] = {"fence_state": memory.fence_state, "source_seen": memory.source_seen}
    if memory.feed_class is not None:
        columns |= {"class": memory.feed_class.value, "class_reason": memory.class_reason}
    return columns


def end_run_of_lost_lease(connection: sa.Connection, *feed_ids: FeedId) -> None:
    """What the feeds' former lease holders left running is incomplete."""
    connection.execute(_END_LOST_RUNS, {"of_feeds": feed_ids})


def _end_run(connection: sa.Connection, feed_id: FeedId, outcome: PollOutcome) -> None:
    """End the poll's run; a poll that found nothing has none, unless it failed: that is worth a row."""
    state = RunState.SUCCEEDED if outcome.succeeded else RunState.FAILED
    values = {"of_run": outcome.run_id, "ended": state.value, "why": outcome.error}
    if connection.execute(_END_RUN, values).rowcount == 0 and not outcome.succeeded:
        of_run = {"id": outcome.run_id, "feed_id": feed_id, "trigger": outcome.trigger}
        connection.execute(_FAILED_RUN, {**of_run, "error": outcome.error})
