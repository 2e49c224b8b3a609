"""What drops customers' rows from a data source, journalled to its logs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from headrace.control.append import Origin, append_batches
from headrace.control.namesakes import namesakes
from headrace.control.tables import batch, feed, feed_log
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
    new = _drop(data_source_id, customers, version)
    for row in held:
        if row.id in wrote:
            append_batches(connection, row, [new], origin=Origin(run_id=""), new_id=new_id)
    return sorted({ModelId(row.model_id) for row in held if row.id in wrote})


def _drop(data_source_id: str, customers: Collection[str], version: int) -> NewBatch:
    return NewBatch(
        data_source_id=DataSourceId(data_source_id),
        kind=BatchKind.DROP,
        rows=0,
        payload=_NOTHING,
        meta={"customers": sorted(customers), "epoch": version},
    )


def drops_of(
    connection: sa.Connection, feed_id: str, data_source_id: str | None = None
) -> tuple[NewBatch, ...]:
    """What logs of the feed that begin anew begin with: customers whose rows were not dropped yet, and those
    whose rows were, unless they have come back.

    A store that was put back from a backup has the rows again. A reconciliation, which would find that the
    source gives none of them there, would hold so many by its breaker.
    """
    of_feed = sa.and_(batch.c.feed_id == feed_id, batch.c.kind == BatchKind.DROP.value)
    if data_source_id is not None:
        of_feed = sa.and_(of_feed, batch.c.data_source_id == data_source_id)
    names: dict[str, set[str]] = {}
    dropped: dict[str, set[str]] = {}
    versions: dict[str, int] = {}
    for row in connection.execute(
        sa.select(batch.c.data_source_id, batch.c.state, batch.c.meta).where(of_feed)
    ):
        found = names if row.state == "pending" else dropped
        found.setdefault(row.data_source_id, set()).update(map(str, row.meta["customers"]))
        versions[row.data_source_id] = max(int(row.meta["epoch"]), versions.get(row.data_source_id, 0))
    for id_, customers in dropped.items():
        names.setdefault(id_, set()).update(customers - namesakes(connection, id_, customers).keys())
    return tuple(_drop(id_, names[id_], versions[id_]) for id_ in sorted(names) if names[id_])


def drop_again(
    connection: sa.Connection, feed_id: str, drops: Sequence[NewBatch], *, new_id: Callable[[], str]
) -> None:
    """The feed's logs, which have begun anew, begin with these."""
    if drops:
        row = connection.execute(sa.select(feed).where(feed.c.id == feed_id)).one()
        append_batches(connection, row, drops, origin=Origin(run_id=""), new_id=new_id)
