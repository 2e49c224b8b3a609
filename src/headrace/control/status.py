"""How every feed is doing: what `status`, metrics and health ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from headrace.control.engine import reading
from headrace.control.state import feed_class_of, position
from headrace.control.tables import PausedBy, RunState, batch, customer, feed, feed_log, rejected_row, run
from headrace.control.types import now
from headrace.domain.position import Position
from headrace.domain.source_seen import SourceSeen
from headrace.domain.vocabulary import AppId, DataSourceId, FeedClass, FeedId, ModelId, SourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedStatus:
    """One active feed at `seen_at`, by the control database's clock.

    Attributes:
        feed_class: None before the first page.
        polling: a worker holds a live lease.
        lease_expired: a worker had it, has not renewed it, and nobody has taken over.
        reconciling: a reconciliation is under way, or waits to be begun.
        source_notes: what a person should know of the source: that it is compared in full since it was
            restored, that a column's type is wider than when the definitions were applied.
        pending_since: when the oldest unmerged batch was journalled.
        stopped_by_drift: Headrace paused it, as its source no longer fits its definition.
        stopped_by_failures: Headrace paused it, as its polls failed for what only a person can mend.
        paused_at: since when; None also where a process of an older version paused it.
        cut: data sources that took no batches, so that nothing is journalled for them.
        backing_off: the merge of some batch failed and is tried again later; `merge_error` says why.
        checked_at: the end of the last poll, `last_success_at` of the last one that succeeded.
    """

    feed_id: FeedId
    source_id: SourceId
    app_id: AppId
    model_id: ModelId
    seen_at: datetime
    feed_class: FeedClass | None
    class_reason: str
    source_notes: tuple[str, ...]
    lead: Position | None
    saved: Position | None
    first_stream_done: bool
    polling: bool
    lease_expired: bool
    reconciling: bool
    cut: tuple[DataSourceId, ...]
    paused: bool
    stopped_by_drift: bool
    stopped_by_failures: bool
    paused_at: datetime | None
    paused_reason: str | None
    next_due: datetime | None
    checked_at: datetime | None
    last_success_at: datetime | None
    last_error: str | None
    failures: int
    live_run: str | None
    pending_batches: int
    pending_rows: int
    pending_bytes: int
    pending_since: datetime | None
    backing_off: bool
    merge_error: str | None
    rejected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedLevel:
    """Of an active feed what gauges tell: as in `FeedStatus`; `saved_cursor` in the source's own text."""

    source_id: SourceId
    app_id: AppId
    feed_class: FeedClass | None
    paused: bool
    saved_cursor: str | None
    last_success_at: datetime | None
    pending_batches: int
    pending_since: datetime | None
    rejected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What waits for a model in a data source, and what went through since a moment.

    Attributes:
        pending_since: when the oldest unmerged batch was journalled.
        error: why some batch could not be merged, which is tried again.
        journalled_rows, merged_rows: since the moment.
    """

    data_source_id: DataSourceId
    model_id: ModelId
    pending_batches: int
    pending_rows: int
    pending_since: datetime | None
    error: str | None
    journalled_rows: int
    merged_rows: int


_CUT = (
    sa.select(feed_log.c.feed_id, feed_log.c.data_source_id)
    .where(feed_log.c.cut_at.is_not(None))
    .order_by(feed_log.c.data_source_id)
)


class SqlStatus:
    """The state of all feeds in the control database, in a number of statements that does not grow."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def feed_status(self) -> list[FeedStatus]:
        """Active feeds, in order of source and app."""
        pending, rejected = _pending(), _rejected()
        waits_for_log = sa.exists().where(feed_log.c.feed_id == feed.c.id, feed_log.c.wants_reconcile)
        query = (
            sa.select(
                feed,
                pending,
                rejected.c.rejected_rows,
                run.c.id.label("live_run"),
                now().label("seen_at"),
                (feed.c.lease_until >= now()).label("polling"),
                (feed.c.lease_until < now()).label("lease_expired"),
                waits_for_log.label("waits_for_log"),
            )
            .outerjoin(pending, pending.c.pending_feed == feed.c.id)
            .outerjoin(rejected, rejected.c.rejected_feed == feed.c.id)
            .outerjoin(run, sa.and_(run.c.feed_id == feed.c.id, run.c.state == RunState.RUNNING.value))
            .where(feed.c.state == "active")
            .order_by(feed.c.source_id, feed.c.app_id)
        )
        cut: dict[str, list[DataSourceId]] = {}
        with reading(self._engine) as connection:
            for feed_id, data_source_id in connection.execute(_CUT):
                cut.setdefault(feed_id, []).append(DataSourceId(data_source_id))
            return [_status(row, tuple(cut.get(row.id, ()))) for row in connection.execute(query)]

    def feed_levels(self) -> list[FeedLevel]:
        """Active feeds, for gauges: a fraction of what `feed_status` reads, which counts with thousands."""
        pending, rejected = _pending(), _rejected()
        numbers = (pending.c.pending_batches, pending.c.pending_since, rejected.c.rejected_rows)
        query: sa.Select[Any] = (
            sa.select(*(feed.c[name] for name in _LEVELS), *numbers)
            .outerjoin(pending, pending.c.pending_feed == feed.c.id)
            .outerjoin(rejected, rejected.c.rejected_feed == feed.c.id)
            .where(feed.c.state == "active")
        )
        with reading(self._engine) as connection:
            return [_level(row) for row in connection.execute(query)]

    def customers(self) -> frozenset[str]:
        """The `provided_id` of every customer that is defined, or that a row has named."""
        with reading(self._engine) as connection:
            return frozenset(connection.execute(sa.select(customer.c.provided_id)).scalars())

    def moment(self) -> datetime:
        """Now, by the control database's clock."""
        with reading(self._engine) as connection:
            moment: datetime = connection.execute(sa.select(now())).scalar_one()
        return moment

    def oldest_run(self) -> datetime | None:
        """When the oldest run began that is still remembered."""
        with reading(self._engine) as connection:
            oldest: datetime | None = connection.execute(sa.select(sa.func.min(run.c.started_at))).scalar()
        return oldest

    def loads(self, since: datetime) -> list[Load]:
        """Of every data source and model for which something waits or went through since this moment of the
        control database's clock, in order of both."""
        waits = batch.c.state == "pending"
        recent = sa.or_(waits, batch.c.merged_at >= since)
        query = (
            sa.select(
                batch.c.data_source_id,
                batch.c.model_id,
                _sum(waits, 1).label("pending_batches"),
                _sum(waits, batch.c.rows).label("pending_rows"),
                sa.func.min(sa.case((waits, batch.c.journalled_at))).label("pending_since"),
                sa.func.max(sa.case((waits, batch.c.error))).label("error"),
                _sum(batch.c.journalled_at >= since, batch.c.rows).label("journalled_rows"),
                _sum(batch.c.merged_at >= since, batch.c.rows).label("merged_rows"),
            )
            .where(recent)
            .group_by(batch.c.data_source_id, batch.c.model_id)
            .order_by(batch.c.data_source_id, batch.c.model_id)
        )
        with reading(self._engine) as connection:
            return [Load(**row) for row in connection.execute(query).mappings()]

    def merged_since(self, moment: datetime) -> dict[tuple[DataSourceId, ModelId], int]:
        """Batches that anybody merged at this moment of the control database's clock or later."""
        counted = (
            sa.select(batch.c.data_source_id, batch.c.model_id, sa.func.count())
            .where(batch.c.merged_at >= moment)
            .group_by(batch.c.data_source_id, batch.c.model_id)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(counted).all()
        return {(DataSourceId(target), ModelId(model)): number for target, model, number in rows}


def _sum(when: sa.ColumnElement[bool], value: Any) -> sa.ColumnElement[int]:
    return sa.cast(sa.func.coalesce(sa.func.sum(sa.case((when, value), else_=0)), 0), sa.BigInteger)


_LEVELS: Final = ("source_id", "app_id", "class", "paused", "saved_cursor", "last_success_at")


def _level(row: sa.Row[Any]) -> FeedLevel:
    return FeedLevel(
        source_id=SourceId(row.source_id),
        app_id=AppId(row.app_id),
        feed_class=feed_class_of(row),
        paused=row.paused,
        saved_cursor=row.saved_cursor,
        last_success_at=row.last_success_at,
        pending_batches=row.pending_batches or 0,
        pending_since=row.pending_since,
        rejected=row.rejected_rows or 0,
    )


def _source_notes(text: str | None, *, fits: bool) -> tuple[str, ...]:
    """Of a source that does not fit, what was noted when it did is no longer so."""
    seen = SourceSeen.from_text(text)
    notes = seen.notes if fits else ()
    if seen.restored is None:
        return notes
    return (f"the source was restored or altered, and is compared in full: {seen.restored}", *notes)


def _pending() -> sa.Subquery:
    return (
        sa.select(
            batch.c.feed_id.label("pending_feed"),
            sa.func.count().label("pending_batches"),
            sa.cast(sa.func.sum(batch.c.rows), sa.BigInteger).label("pending_rows"),
            sa.cast(sa.func.sum(batch.c.payload_bytes), sa.BigInteger).label("pending_bytes"),
            sa.func.min(batch.c.journalled_at).label("pending_since"),
            sa.func.max(batch.c.error).label("merge_error"),
            sa.func.max(batch.c.next_attempt_at).label("next_attempt_at"),
        )
        .where(batch.c.state == "pending")
        .group_by(batch.c.feed_id)
        .subquery()
    )


def _rejected() -> sa.Subquery:
    return (
        sa.select(rejected_row.c.feed_id.label("rejected_feed"), sa.func.count().label("rejected_rows"))
        .where(rejected_row.c.state == "open")
        .group_by(rejected_row.c.feed_id)
        .subquery()
    )


def _status(row: sa.Row[Any], cut: tuple[DataSourceId, ...]) -> FeedStatus:
    return FeedStatus(
        feed_id=FeedId(row.id),
        source_id=SourceId(row.source_id),
        app_id=AppId(row.app_id),
        model_id=ModelId(row.model_id),
        seen_at=row.seen_at,
        feed_class=feed_class_of(row),
        class_reason=row.class_reason,
        source_notes=_source_notes(row.source_seen, fits=row.paused_by != PausedBy.DRIFT),
        lead=position(row.lead_cursor, row.lead_key),
        saved=position(row.saved_cursor, row.saved_key),
        first_stream_done=row.first_stream_done,
        polling=bool(row.polling),
        lease_expired=bool(row.lease_expired),
        reconciling=bool(row.reconciliation or row.reconcile_wanted or row.waits_for_log),
        cut=cut,
        paused=row.paused,
        stopped_by_drift=row.paused_by == PausedBy.DRIFT and not row.gave_up,
        stopped_by_failures=row.paused_by == PausedBy.DRIFT and row.gave_up,
        paused_at=row.paused_at if row.paused else None,
        paused_reason=row.paused_reason,
        next_due=row.next_due,
        checked_at=row.checked_at,
        last_success_at=row.last_success_at,
        last_error=row.last_error,
        failures=row.failures,
        live_run=row.live_run,
        pending_batches=row.pending_batches or 0,
        pending_rows=row.pending_rows or 0,
        pending_bytes=row.pending_bytes or 0,
        pending_since=row.pending_since,
        backing_off=row.next_attempt_at is not None,
        merge_error=row.merge_error,
        rejected=row.rejected_rows or 0,
    )
