"""What drops customers' rows from a data source, journalled to its logs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from headrace.control.append import append_batches
from headrace.control.tables import feed, feed_log
from headrace.domain import payload
from headrace.domain.vocabulary import BatchKind, DataSourceId, ModelId
from headrace.ports import NewBatch

_LOCK_FEEDS = sa.select(feed).where(feed.c.state == "active").order_by(feed.c.id).with_for_update()
_NOTHING = payload.encode(pa.table({"_customer_id": pa.array([], pa.string())}))

Feeds = Sequence[Any]
"""Rows of `feed`, locked."""


def lock_feeds(connection: sa.Connection) -> Feeds:
    """No feed journals anything until the commit. Before routing is locked: journals lock in this order."""
    return connection.execute(_LOCK_FEEDS).all()


def drop_rows(
    connection: sa.Connection,
    held: Feeds,
    *,
    data_source_id: str,
    customers: Sequence[str],
    version: int,
    new_id: Callable[[], str],
) -> list[ModelId]:
    """It is journalled that all these customers' rows are dropped from the data source; gives the models that
    are to be merged there.

    Args:
        customers: `provided_id`s.
        version: of routing, from which on nobody reads them there: who resolved before is told so.
    """
    if not customers:
        return []
    logs = sa.select(feed_log.c.feed_id).where(feed_log.c.data_source_id == data_source_id)
    wrote = set(connection.execute(logs).scalars())
    new = NewBatch(
        data_source_id=DataSourceId(data_source_id),
        kind=BatchKind.DROP,
        rows=0,
        payload=_NOTHING,
        meta={"customers": list(customers), "epoch": version},
    )
    for row in held:
        if row.id in wrote:
            append_batches(connection, row, [new], run_id="", new_id=new_id)
    return sorted({ModelId(row.model_id) for row in held if row.id in wrote})
