"""The merge's side of the journal (the port `Journal`).

Order of locks, here and everywhere: feed, routing_version, feed_log, batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from headrace.control.append import json_key
from headrace.control.engine import insert_or, reading, writing
from headrace.control.feeds import new_uuid
from headrace.control.tables import batch, batch_payload, feed, feed_log, key_request, run
from headrace.control.types import from_now, now
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
from headrace.ports import FeedLog, WaitingBatch

_KEYS_A_STATEMENT = 5_000


class SqlJournal:
    """The journal in the control database. Safe to share between threads.

    Args:
        new_id: makes log ids; random, never used twice.
    """

    def __init__(self, engine: sa.Engine, *, new_id: Callable[[], str] = new_uuid) -> None:
        self._engine = engine
        self._new_id = new_id

    def logs(self, data_source_id: DataSourceId, model: ModelId) -> tuple[FeedLog, ...]:
        of_active_feeds = (
            sa.select(feed_log, feed.c.source_id, feed.c.app_id)
            .join(feed, feed.c.id == feed_log.c.feed_id)
            .where(
                feed_log.c.data_source_id == data_source_id,
                feed_log.c.model_id == model,
                feed.c.state == "active",
            )
            .order_by(feed.c.source_id, feed.c.app_id)
        )
        with reading(self._engine) as connection:
            return tuple(_feed_log(row) for row in connection.execute(of_active_feeds))

    def batch_at(self, log: FeedLog, seq: int) -> BatchId | None:
        at = sa.select(batch.c.id).where(batch.c.log_id == log.log_id, batch.c.seq == seq)
        with reading(self._engine) as connection:
            return connection.execute(at).scalar_one_or_none()

    def waiting(
        self, log: FeedLog, *, after_seq: int, max_batches: int, max_bytes: int
    ) -> tuple[WaitingBatch, ...]:
        # Served by batch_log_idx (log_id, seq).
        following = (
            sa.select(batch, (batch.c.next_attempt_at > now()).label("backs_off"))
            .where(batch.c.log_id == log.log_id, batch.c.seq > after_seq, batch.c.state == "pending")
            .order_by(batch.c.seq)
            .limit(max_batches)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(following).all()
        found: list[WaitingBatch] = []
        size = 0
        for seq, row in enumerate(rows, start=after_seq + 1):
            size += row.payload_bytes
            if row.seq != seq or row.backs_off or (found and size > max_bytes):
                break
            found.append(_waiting_batch(row))
        return tuple(found)

    def payload(self, batch_id: BatchId) -> bytes | None:
        of_batch = sa.select(batch_payload.c.payload).where(batch_payload.c.batch_id == batch_id)
        with reading(self._engine) as connection:
            return connection.execute(of_batch).scalar_one_or_none()

    def count_attempt(self, batch_ids: Sequence[BatchId]) -> None:
        self._change_pending(batch_ids, attempts=batch.c.attempts + 1)

    def give_back_attempt(self, batch_ids: Sequence[BatchId]) -> None:
        fewer = sa.case((batch.c.attempts > 0, batch.c.attempts - 1), else_=0)
        self._change_pending(batch_ids, attempts=fewer)

    def back_off(self, batch_ids: Sequence[BatchId], error: str, *, delay_s: float) -> None:
        self._change_pending(batch_ids, error=error, next_attempt_at=from_now(delay_s))

    def _change_pending(self, batch_ids: Sequence[BatchId], **values: Any) -> None:
        pending = sa.and_(batch.c.id.in_(batch_ids), batch.c.state == "pending")
        with writing(self._engine) as connection:
            connection.execute(sa.update(batch).where(pending).values(values))

    def mark_merged(self, batch_ids: Sequence[BatchId], *, rows_changed: int) -> None:
        """See the port. All batches of a log up to the last of these are merged, for a store applies a
        log in order; those of a log that was ended meanwhile are gone, and nothing is marked."""
        of_log = (
            sa.select(batch.c.log_id, sa.func.max(batch.c.seq).label("seq"))
            .where(batch.c.id.in_(batch_ids))
            .group_by(batch.c.log_id)
            .order_by(batch.c.log_id)
        )
        with writing(self._engine) as connection:
            runs = [
                run_id
                for log_id, seq in connection.execute(of_log).all()
                for run_id in _mark_log(connection, log_id, seq)
            ]
            if runs:
                counted = sa.update(run).where(run.c.id == runs[-1])
                connection.execute(counted.values(rows_merged=run.c.rows_merged + rows_changed))

    def request_keys(self, feed_id: FeedId, keys: Sequence[tuple[str, ...]]) -> None:
        """See the port. A key that was asked for already gets a new id: a fetch that is under way may
        have seen the row before the reason for this request."""
        with writing(self._engine) as connection:
            add_key_requests(connection, feed_id, [json_key(key) for key in keys])

    def begin_new_log(self, log: FeedLog, reason: str) -> bool:
        with writing(self._engine) as connection:
            epoch = _set_again(connection, log.feed_id)
            begin = (
                sa.update(feed_log)
                .where(feed_log.c.feed_id == log.feed_id, feed_log.c.data_source_id == log.data_source_id)
                .where(feed_log.c.log_id == log.log_id)
            )
            values = new_log_values(reason=reason, log_id=self._new_id(), epoch=epoch)
            if connection.execute(begin.values(values)).rowcount == 0:
                connection.rollback()
                return False
            drop_pending(connection, batch.c.log_id == log.log_id)
            return True


def new_log_values(*, reason: str, log_id: str, epoch: int) -> dict[str, Any]:
    """What a row of `feed_log` is after its log was begun anew under this epoch of the feed."""
    return {
        "log_id": log_id,
        "seq": 0,
        "merged_seq": 0,
        "wants_reconcile": True,
        "asked_epoch": epoch,
        "reason": reason,
    }


def drop_pending(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Delete unmerged batches; their payloads go with them (ON DELETE CASCADE)."""
    connection.execute(sa.delete(batch).where(which, batch.c.state == "pending"))


def add_key_requests(connection: sa.Connection, feed_id: FeedId, keys: Sequence[str]) -> None:
    """Ask the feed for the keys (JSON arrays of texts) and set its `again`."""
    wanted = list(dict.fromkeys(keys))
    if not wanted:
        return
    _set_again(connection, feed_id)
    for start in range(0, len(wanted), _KEYS_A_STATEMENT):
        some = wanted[start : start + _KEYS_A_STATEMENT]
        connection.execute(
            sa.delete(key_request).where(key_request.c.feed_id == feed_id, key_request.c.key.in_(some))
        )
    insert = insert_or(connection, key_request).values(feed_id=feed_id, asked_at=now())
    connection.execute(insert.on_conflict_do_nothing(), [{"key": key} for key in wanted])


def _set_again(connection: sa.Connection, feed_id: FeedId) -> int:
    """Lock the feed, ask for one more poll; its epoch."""
    ask = sa.update(feed).where(feed.c.id == feed_id).values(again=True).returning(feed.c.epoch)
    return int(connection.execute(ask).scalar_one())


def _mark_log(connection: sa.Connection, log_id: LogId, seq: int) -> list[RunId]:
    """The runs of the batches that are merged by this call, in order."""
    move = sa.update(feed_log).where(feed_log.c.log_id == log_id, feed_log.c.merged_seq < seq)
    if connection.execute(move.values(merged_seq=seq)).rowcount == 0:
        return []
    mark = (
        sa.update(batch)
        .where(batch.c.log_id == log_id, batch.c.seq <= seq, batch.c.state == "pending")
        .values(state="merged", merged_at=now(), next_attempt_at=None, error=None)
        .returning(batch.c.id, batch.c.run_id, batch.c.seq)
    )
    merged = sorted(connection.execute(mark).all(), key=lambda row: int(row.seq))
    for start in range(0, len(merged), _KEYS_A_STATEMENT):
        ids = [row.id for row in merged[start : start + _KEYS_A_STATEMENT]]
        connection.execute(sa.delete(batch_payload).where(batch_payload.c.batch_id.in_(ids)))
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
    )
