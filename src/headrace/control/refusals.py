"""Rows that a data source refused: set aside with their batch, open until a later version is merged."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import sqlalchemy as sa

from headrace.control.engine import insert_in
from headrace.control.slices import slices
from headrace.control.tables import batch, rejected_row, run
from headrace.control.types import now
from headrace.domain.vocabulary import BatchId, DataSourceId, FeedId
from headrace.ports import RefusedRow, RejectedRow

_REFUSED_ROWS = 10_000
"""As many open refused rows of a feed as a merge looks for later versions of; others close when replayed."""

# Built once, as in `append`.

_PENDING_BATCH = (
    sa.select(batch.c.feed_id, batch.c.data_source_id, batch.c.run_id)
    .where(batch.c.id == sa.bindparam("of_batch"), batch.c.state == "pending")
    .with_for_update()
)
_SET_ASIDE_BEFORE = sa.select(rejected_row.c.key).where(
    rejected_row.c.feed_id == sa.bindparam("of_feed"),
    rejected_row.c.batch_id == sa.bindparam("of_batch"),
    rejected_row.c.state == "open",
)
_RESOLVE = sa.update(rejected_row).values(state="resolved", last_seen=now())
_RESOLVE_OF_BATCH = _RESOLVE.where(
    rejected_row.c.feed_id == sa.bindparam("of_feed"),
    rejected_row.c.batch_id == sa.bindparam("of_batch"),
    rejected_row.c.key.in_(sa.bindparam("keys", expanding=True)),
    rejected_row.c.state == "open",
)
_RESOLVE_BY_ID = _RESOLVE.where(
    rejected_row.c.id.in_(sa.bindparam("ids", expanding=True)), rejected_row.c.state == "open"
)
_REFUSED = (
    sa.select(
        rejected_row.c.id,
        rejected_row.c.key,
        rejected_row.c.refused_by,
        rejected_row.c.batch_id,
        sa.func.coalesce(batch.c.journalled_at, rejected_row.c.last_seen).label("journalled_at"),
    )
    .outerjoin_from(rejected_row, batch, batch.c.id == rejected_row.c.batch_id)
    .where(
        rejected_row.c.feed_id == sa.bindparam("of_feed"),
        rejected_row.c.refused_by != "",
        rejected_row.c.state == "open",
    )
    .order_by(rejected_row.c.id)
    .limit(_REFUSED_ROWS)
)
_COUNT_REJECTED = (
    sa.update(run)
    .where(run.c.id == sa.bindparam("of_run"))
    .values(rejected=run.c.rejected + sa.bindparam("more", type_=sa.BigInteger()))
)


@cache
def _refuse(dialect: str) -> sa.Executable:
    insert = insert_in(dialect, rejected_row).values(first_seen=now(), last_seen=now())
    repeated = rejected_row.c.batch_id == insert.excluded.batch_id
    more = sa.case((repeated, 0), else_=1)
    return insert.on_conflict_do_update(
        index_elements=[rejected_row.c.feed_id, rejected_row.c.key, rejected_row.c.refused_by],
        index_where=sa.text("state = 'open'"),
        set_={name: insert.excluded[name] for name in ("code", "reason", "raw", "batch_id", "last_seen")}
        | {"attempts": rejected_row.c.attempts + more},
    )


def may_supersede() -> sa.Label[bool]:
    """Served by rejected_row_open_key."""
    of_feed = sa.and_(rejected_row.c.feed_id == batch.c.feed_id, rejected_row.c.state == "open")
    return sa.exists().where(of_feed, rejected_row.c.refused_by != "").label("may_supersede")


def set_aside(connection: sa.Connection, batch_id: BatchId, rows: Sequence[RejectedRow]) -> None:
    """These rows of the batch are open, and no others; of a log that was ended meanwhile none is.

    What an earlier try set aside of the batch and this one does not is open no more; the run counts each
    row once.
    """
    of_batch = connection.execute(_PENDING_BATCH, {"of_batch": batch_id}).one_or_none()
    if of_batch is None:
        return
    where = {"of_feed": of_batch.feed_id, "of_batch": batch_id}
    before = set(connection.execute(_SET_ASIDE_BEFORE, where).scalars())
    now_refused = {row.key: row for row in rows}
    if before - now_refused.keys():
        connection.execute(_RESOLVE_OF_BATCH, {**where, "keys": sorted(before - now_refused.keys())})
    if not rows:
        return
    placed = {"feed_id": of_batch.feed_id, "refused_by": of_batch.data_source_id, "batch_id": batch_id}
    connection.execute(
        _refuse(connection.dialect.name),
        [
            {**placed, "key": r.key, "code": r.code, "reason": r.reason, "raw": r.raw}
            for r in now_refused.values()
        ],
    )
    more = len(now_refused.keys() - before)
    connection.execute(_COUNT_REJECTED, {"of_run": of_batch.run_id, "more": more})


def refused_rows(connection: sa.Connection, feed_id: FeedId) -> tuple[RefusedRow, ...]:
    return tuple(
        RefusedRow(
            id=row.id,
            key=row.key,
            data_source_id=DataSourceId(row.refused_by),
            batch_id=BatchId(row.batch_id),
            journalled_at=row.journalled_at,
        )
        for row in connection.execute(_REFUSED, {"of_feed": feed_id})
    )


def resolve(connection: sa.Connection, rejected_ids: Sequence[int]) -> None:
    for some in slices(rejected_ids):
        connection.execute(_RESOLVE_BY_ID, {"ids": some})
