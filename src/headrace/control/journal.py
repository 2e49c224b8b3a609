"""The merge's side of the journal (the port `Journal`).

Order of locks, here and everywhere: feed, routing_version, feed_log, batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from headrace.control import log_cut
from headrace.control.engine import reading, writing
from headrace.control.key_requests import add_key_requests, set_again
from headrace.control.new_id import new_uuid
from headrace.control.new_log import begin_new_log, new_log_values
from headrace.control.refusals import may_supersede, refused_rows, resolve, set_aside
from headrace.control.slices import slices
from headrace.control.tables import batch, batch_payload, feed, feed_log, run
from headrace.control.types import Json, from_now, now, seconds_named
from headrace.domain.vocabulary import (
    AppId,
    BatchId,
    BatchKind,
    DataSourceId,
    FeedId,
    LogId,
    ModelId,
    RunId,
    SourceId,
)
from headrace.ports import FeedLog, RefusedRow, RejectedRow, WaitingBatch

LOAD_WAITS_S: Final = 5.0
"""A load without a batch for so long is taken to be over."""

# Built once, as in `append`.

_LOGS = (
    sa.select(feed_log, feed.c.source_id, feed.c.app_id, feed.c.first_stream_done)
    .join(feed, feed.c.id == feed_log.c.feed_id)
    .where(
        feed_log.c.data_source_id == sa.bindparam("data_source"),
        feed_log.c.model_id == sa.bindparam("model"),
        feed.c.state == "active",
    )
    .order_by(feed.c.source_id, feed.c.app_id)
)
_BATCH_AT = sa.select(batch.c.id).where(
    batch.c.log_id == sa.bindparam("log"), batch.c.seq == sa.bindparam("at")
)
_FOLLOWING = (  # served by batch_log_idx (log_id, seq)
    sa.select(
        batch,
        (batch.c.next_attempt_at > now()).label("backs_off"),
        (batch.c.journalled_at < from_now(-LOAD_WAITS_S)).label("is_stale"),
        may_supersede(),
    )
    .where(
        batch.c.log_id == sa.bindparam("log"), batch.c.seq > sa.bindparam("after"), batch.c.state == "pending"
    )
    .order_by(batch.c.seq)
    .limit(sa.bindparam("at_most", type_=sa.Integer()))
)
_BACK_OFF_REASON = sa.select(sa.func.coalesce(batch.c.error, "")).where(
    batch.c.log_id == sa.bindparam("log"),
    batch.c.seq == sa.bindparam("at"),
    batch.c.state == "pending",
    batch.c.next_attempt_at.is_not(None),
)
_PAYLOAD = sa.select(batch_payload.c.payload).where(batch_payload.c.batch_id == sa.bindparam("batch"))

_OF_BATCHES = batch.c.id.in_(sa.bindparam("batches", expanding=True))
_CHANGE_PENDING = sa.update(batch).where(_OF_BATCHES, batch.c.state == "pending")
_COUNT_ATTEMPT = _CHANGE_PENDING.values(attempts=batch.c.attempts + 1)
_GIVE_BACK_ATTEMPT = _CHANGE_PENDING.values(
    attempts=sa.case((batch.c.attempts > 0, batch.c.attempts - 1), else_=0)
)
_BACK_OFF = _CHANGE_PENDING.values(
    error=sa.bindparam("why"), next_attempt_at=from_now(seconds_named("wait_s"))
)

_NOTE_BISECTION = (
    sa.update(batch)
    .where(batch.c.id == sa.bindparam("of_batch"), batch.c.state == "pending")
    .values(bisection=sa.bindparam("noted", type_=Json))
)
_LAST_OF_LOGS = (
    sa.select(batch.c.log_id, sa.func.max(batch.c.seq).label("seq"))
    .where(_OF_BATCHES)
    .group_by(batch.c.log_id)
    .order_by(batch.c.log_id)
)
_MOVE_MERGED = (
    sa.update(feed_log)
    .where(feed_log.c.log_id == sa.bindparam("log"), feed_log.c.merged_seq < sa.bindparam("upto"))
    .values(merged_seq=sa.bindparam("upto"))
)
_MARK_MERGED = (
    sa.update(batch)
    .where(
        batch.c.log_id == sa.bindparam("log"), batch.c.seq <= sa.bindparam("upto"), batch.c.state == "pending"
    )
    .values(state="merged", merged_at=now(), next_attempt_at=None, error=None, bisection=None)
    .returning(batch.c.id, batch.c.run_id, batch.c.seq)
)
_DROP_PAYLOADS = sa.delete(batch_payload).where(
    batch_payload.c.batch_id.in_(sa.bindparam("batches", expanding=True))
)
_COUNT_MERGED = (
    sa.update(run)
    .where(run.c.id == sa.bindparam("of_run"))
    .values(rows_merged=run.c.rows_merged + sa.bindparam("more", type_=sa.BigInteger()))
)


class SqlJournal:
    """The journal in the control database. Safe to share between threads.

    Args:
        new_id: makes log ids; random, never used twice.
    """

    def __init__(self, engine: sa.Engine, *, new_id: Callable[[], str] = new_uuid) -> None:
        self._engine = engine
        self._new_id = new_id

    def logs(self, data_source_id: DataSourceId, model: ModelId) -> tuple[FeedLog, ...]:
        where = {"data_source": data_source_id, "model": model}
        with reading(self._engine) as connection:
            return tuple(_feed_log(row) for row in connection.execute(_LOGS, where))

    def batch_at(self, log: FeedLog, seq: int) -> BatchId | None:
        with reading(self._engine) as connection:
            return connection.execute(_BATCH_AT, {"log": log.log_id, "at": seq}).scalar_one_or_none()

    def waiting(
        self, log: FeedLog, *, after_seq: int, max_batches: int, max_bytes: int
    ) -> tuple[WaitingBatch, ...]:
        which = {"log": log.log_id, "after": after_seq, "at_most": max_batches}
        with reading(self._engine) as connection:
            rows = connection.execute(_FOLLOWING, which).all()
        found: list[WaitingBatch] = []
        size = 0
        for seq, row in enumerate(rows, start=after_seq + 1):
            size += row.payload_bytes
            if row.seq != seq or row.backs_off or (found and size > max_bytes):
                break
            found.append(_waiting_batch(row))
        return tuple(found)

    def back_off_reason(self, log: FeedLog, seq: int) -> str | None:
        with reading(self._engine) as connection:
            where = {"log": log.log_id, "at": seq}
            return connection.execute(_BACK_OFF_REASON, where).scalar_one_or_none()

    def payload(self, batch_id: BatchId) -> bytes | None:
        with reading(self._engine) as connection:
            return connection.execute(_PAYLOAD, {"batch": batch_id}).scalar_one_or_none()

    def count_attempt(self, batch_ids: Sequence[BatchId]) -> None:
        self._change_pending(_COUNT_ATTEMPT, batch_ids)

    def give_back_attempt(self, batch_ids: Sequence[BatchId]) -> None:
        self._change_pending(_GIVE_BACK_ATTEMPT, batch_ids)

    def back_off(self, batch_ids: Sequence[BatchId], error: str, *, delay_s: float) -> None:
        self._change_pending(_BACK_OFF, batch_ids, why=error, wait_s=delay_s)

    def _change_pending(self, statement: sa.Update, batch_ids: Sequence[BatchId], **values: Any) -> None:
        with writing(self._engine) as connection:
            connection.execute(statement, {"batches": batch_ids, **values})

    def note_bisection(self, batch_id: BatchId, bisection: Mapping[str, Any]) -> None:
        with writing(self._engine) as connection:
            connection.execute(_NOTE_BISECTION, {"of_batch": batch_id, "noted": dict(bisection)})

    def set_aside(self, batch_id: BatchId, rows: Sequence[RejectedRow]) -> None:
        with writing(self._engine) as connection:
            set_aside(connection, batch_id, rows)

    def refused_rows(self, feed_id: FeedId) -> tuple[RefusedRow, ...]:
        with reading(self._engine) as connection:
            return refused_rows(connection, feed_id)

    def resolve(self, rejected_ids: Sequence[int]) -> None:
        with writing(self._engine) as connection:
            resolve(connection, rejected_ids)

    def mark_merged(self, batch_ids: Sequence[BatchId], *, rows_changed: int) -> None:
        """See the port. All batches of a log up to the last of these are merged, for a store applies a
        log in order; those of a log that was ended meanwhile are gone, and nothing is marked."""
        with writing(self._engine) as connection:
            runs = [
                run_id
                for log_id, seq in connection.execute(_LAST_OF_LOGS, {"batches": batch_ids}).all()
                for run_id in _mark_log(connection, log_id, seq)
            ]
            if runs:
                connection.execute(_COUNT_MERGED, {"of_run": runs[-1], "more": rows_changed})

    def request_keys(self, feed_id: FeedId, keys: Sequence[tuple[str, ...]]) -> None:
        """See the port. A key that was asked for already gets a new id: a fetch that is under way may
        have seen the row before the reason for this request."""
        with writing(self._engine) as connection:
            add_key_requests(connection, feed_id, keys)

    def begin_new_log(self, log: FeedLog, reason: str) -> bool:
        with writing(self._engine) as connection:
            epoch = set_again(connection, log.feed_id)
            begun = begin_new_log(
                connection,
                feed_id=log.feed_id,
                data_source_id=log.data_source_id,
                log_id=log.log_id,
                values=new_log_values(reason=reason, log_id=self._new_id(), epoch=epoch),
                new_id=self._new_id,
            )
            if not begun:
                connection.rollback()
            return begun

    def resume_log(self, log: FeedLog) -> bool:
        with writing(self._engine) as connection:
            resumed = log_cut.resume(connection, log)
            if not resumed:
                connection.rollback()
            return resumed


def _mark_log(connection: sa.Connection, log_id: LogId, seq: int) -> list[RunId]:
    """The runs of the batches that are merged by this call, in order."""
    upto = {"log": log_id, "upto": seq}
    if connection.execute(_MOVE_MERGED, upto).rowcount == 0:
        return []
    merged = sorted(connection.execute(_MARK_MERGED, upto).all(), key=lambda row: int(row.seq))
    for some in slices(merged):
        ids = [row.id for row in some]
        connection.execute(_DROP_PAYLOADS, {"batches": ids})
    return [RunId(row.run_id) for row in merged]


def _feed_log(row: sa.Row[Any]) -> FeedLog:
    return FeedLog(
        feed_id=FeedId(row.feed_id),
        source_id=SourceId(row.source_id),
        app_id=AppId(row.app_id),
        data_source_id=DataSourceId(row.data_source_id),
        log_id=LogId(row.log_id),
        seq=row.seq,
        merged_seq=row.merged_seq,
        loads=not row.first_stream_done,
        cut=row.cut_at is not None,
    )


def _waiting_batch(row: sa.Row[Any]) -> WaitingBatch:
    return WaitingBatch(
        id=BatchId(row.id),
        feed_id=FeedId(row.feed_id),
        log_id=LogId(row.log_id),
        seq=row.seq,
        kind=BatchKind(row.kind),
        rows=row.rows,
        payload_bytes=row.payload_bytes,
        attempts=row.attempts,
        shape_fingerprint=row.shape_fingerprint,
        meta=row.meta,
        run_id=RunId(row.run_id),
        journalled_at=row.journalled_at,
        bisection=row.bisection,
        may_supersede=bool(row.may_supersede),
        is_stale=bool(row.is_stale),
        changed_at=row.changed_at,
        traceparent=row.traceparent,
    )
