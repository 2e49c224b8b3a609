"""What the sweeper finds and removes: work without a nudge, lost leases, and what has had its time."""

from __future__ import annotations

import sqlalchemy as sa

from headrace.control.engine import reading, writing
from headrace.control.feeds import end_run_of_lost_lease
from headrace.control.tables import (
    RunState,
    batch,
    feed,
    feed_log,
    rejected_row,
    run,
    trigger_log,
)
from headrace.control.types import from_now, now
from headrace.domain.vocabulary import DataSourceId, FeedId, ModelId
from headrace.ports import Removed, Retention


class SqlSweep:
    """Implements `ports.Sweep`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def expired_leases(self) -> list[FeedId]:
        lost = (
            sa.select(feed.c.id)
            .where(feed.c.lease_until < now(), feed.c.state == "active")
            .order_by(feed.c.id)
            .with_for_update(skip_locked=True)
        )
        with writing(self._engine) as connection:
            ids = [FeedId(i) for i in connection.execute(lost).scalars()]
            if ids:
                end_run_of_lost_lease(connection, *ids)
        return ids

    def unmerged(self, *, older_than_s: float) -> list[tuple[DataSourceId, ModelId]]:
        since = sa.func.coalesce(batch.c.next_attempt_at, batch.c.journalled_at)
        ready = sa.case(
            (batch.c.next_attempt_at.is_not(None), since <= now()), else_=since <= from_now(-older_than_s)
        )
        heads = (
            sa.select(feed_log.c.data_source_id, feed_log.c.model_id)
            .join(
                batch,
                sa.and_(batch.c.log_id == feed_log.c.log_id, batch.c.seq == feed_log.c.merged_seq + 1),
            )
            .where(batch.c.state == "pending", ready)
            .distinct()
            .order_by(feed_log.c.data_source_id, feed_log.c.model_id)
        )
        with reading(self._engine) as connection:
            return [(DataSourceId(d), ModelId(m)) for d, m in connection.execute(heads)]

    def remove_old(self, retention: Retention) -> Removed:
        return Removed(
            batches=self._delete(sa.delete(batch).where(_old_batches(retention))),
            runs=self._delete(
                sa.delete(run).where(
                    run.c.state != RunState.RUNNING.value, run.c.started_at < from_now(-retention.runs_s)
                )
            ),
            triggers=self._delete(
                sa.delete(trigger_log).where(trigger_log.c.at < from_now(-retention.triggers_s))
            ),
            rejected=self._delete(
                sa.delete(rejected_row).where(
                    rejected_row.c.state != "open",
                    rejected_row.c.last_seen < from_now(-retention.closed_rejected_s),
                )
            ),
        )

    def _delete(self, statement: sa.Delete) -> int:
        with writing(self._engine) as connection:
            return connection.execute(statement).rowcount


def _old_batches(retention: Retention) -> sa.ColumnElement[bool]:
    is_last = sa.exists().where(feed_log.c.log_id == batch.c.log_id, feed_log.c.merged_seq == batch.c.seq)
    return sa.and_(
        batch.c.state == "merged",
        batch.c.merged_at < from_now(-retention.merged_batches_s),
        sa.not_(is_last),
    )
