"""Logs of data sources that take no batches: cut, so that the others of their feeds go on, and resumed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

import sqlalchemy as sa

from headrace.control.key_requests import set_again
from headrace.control.new_log import begin_new_log, new_log_values
from headrace.control.tables import batch, feed_log
from headrace.control.types import from_now, now
from headrace.domain.vocabulary import DataSourceId
from headrace.ports import FeedLog

UNTRIED_S: Final = 10.0
"""A batch that nobody could try for so long waits for a data source that cannot be reached."""
REFUSED_S: Final = 600.0
"""One that was tried, and waits for so long, will not be merged soon."""

CUT = "the data source took no batches, and what waited for it was dropped"

_merged = sa.alias(batch, "merged")
_STALLED = (  # served by batch_log_idx (log_id, seq)
    sa.select(feed_log.c.data_source_id, feed_log.c.log_id)
    .join(batch, sa.and_(batch.c.log_id == feed_log.c.log_id, batch.c.seq == feed_log.c.merged_seq + 1))
    .outerjoin(
        _merged, sa.and_(_merged.c.log_id == feed_log.c.log_id, _merged.c.seq == feed_log.c.merged_seq)
    )
    .where(
        feed_log.c.feed_id == sa.bindparam("of_feed"),
        feed_log.c.data_source_id.in_(sa.bindparam("over", expanding=True)),
        feed_log.c.cut_at.is_(None),
        sa.or_(
            sa.and_(batch.c.attempts == 0, batch.c.journalled_at < from_now(-UNTRIED_S)),
            batch.c.journalled_at < from_now(-REFUSED_S),
        ),
        sa.or_(_merged.c.merged_at.is_(None), _merged.c.merged_at < from_now(-UNTRIED_S)),
    )
    .order_by(feed_log.c.data_source_id)
)
_RESUME = (
    sa.update(feed_log)
    .where(feed_log.c.log_id == sa.bindparam("log"), feed_log.c.cut_at.is_not(None))
    .values(cut_at=None, wants_reconcile=True, asked_epoch=sa.bindparam("epoch"))
)


def cut_stalled(
    connection: sa.Connection, held: Any, over: Collection[DataSourceId], *, new_id: Callable[[], str]
) -> frozenset[DataSourceId]:
    """See `Feeds.cut_stalled`.

    Args:
        held: the feed's row, locked.
    """
    stalled = connection.execute(_STALLED, {"of_feed": held.id, "over": sorted(over)}).all()
    for data_source_id, log_id in stalled:
        # Until it is resumed no reconciliation answers for it: none begins after this lease.
        values = new_log_values(reason=CUT, log_id=new_id(), epoch=held.epoch)
        begin_new_log(
            connection,
            feed_id=held.id,
            data_source_id=data_source_id,
            log_id=log_id,
            values={**values, "cut_at": now()},
            new_id=new_id,
        )
    return frozenset(DataSourceId(id_) for id_, _ in stalled)


def resume(connection: sa.Connection, log: FeedLog) -> bool:
    """See `Journal.resume_log`. Whoever holds the feed's lease goes on leaving the data source out: the
    reconciliation begins under a later one."""
    epoch = set_again(connection, log.feed_id)
    return connection.execute(_RESUME, {"log": log.log_id, "epoch": epoch}).rowcount > 0
