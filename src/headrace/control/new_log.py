"""A log of a feed that ends, and another that takes its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from headrace.control.dropping import drop_again, drops_of
from headrace.control.tables import batch, feed_log
from headrace.domain.vocabulary import DataSourceId, FeedId, LogId


def begin_new_log(
    connection: sa.Connection,
    *,
    feed_id: FeedId,
    data_source_id: DataSourceId,
    log_id: LogId,
    values: dict[str, Any],
    new_id: Callable[[], str],
) -> bool:
    """The log is as `values` say, and what was unmerged of it is gone, but for what drops customers' rows:
    nobody else would drop them. False: it was no longer the current one.

    The caller has locked the feed.

    Args:
        values: `new_log_values`, and what else is to be true of it.
    """
    current = sa.and_(
        feed_log.c.feed_id == feed_id,
        feed_log.c.data_source_id == data_source_id,
        feed_log.c.log_id == log_id,
    )
    if connection.execute(sa.update(feed_log).where(current).values(values)).rowcount == 0:
        return False
    drops = drops_of(connection, feed_id, data_source_id)
    drop_pending(connection, batch.c.log_id == log_id)
    drop_again(connection, feed_id, drops, new_id=new_id)
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
