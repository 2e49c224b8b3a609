"""When a move may end, and what is true of its binding then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from headrace.control.audit import AuditLine, append_audit
from headrace.control.move_binding import own_binding, reside
from headrace.control.move_tables import MoveState, move, move_feed
from headrace.control.routes import routes_of
from headrace.control.tables import (
    batch,
    binding,
    customer,
    data_source,
    data_source_group,
    feed,
    feed_log,
    rejected_row,
)
from headrace.control.types import now
from headrace.domain.routing import State
from headrace.domain.vocabulary import FeedId


def is_read(connection: sa.Connection, row: Any) -> bool:
    """Every feed has read its rows, and all that was journalled for the new data source is merged, so that it
    is not behind the old one; it has refused none of it, and it serves."""
    if unread(connection, row.id) or not _serves(connection, row) or _refuses(connection, row):
        return False
    waiting = sa.select(batch.c.id).where(batch.c.data_source_id == row.to_id, batch.c.state == "pending")
    if connection.execute(waiting.limit(1)).one_or_none() is not None:
        return False
    wanting = sa.select(feed_log.c.feed_id).where(
        feed_log.c.data_source_id == row.to_id, feed_log.c.wants_reconcile
    )
    return connection.execute(wanting.limit(1)).one_or_none() is None


def _serves(connection: sa.Connection, row: Any) -> bool:
    """The new data source is one that the customer may have, as it was when the move began."""
    groups = sa.select(data_source_group.c.visibility_group).where(
        data_source_group.c.data_source_id == row.to_id
    )
    own = sa.select(customer.c.visibility_group).where(
        customer.c.id == row.customer_id, customer.c.visibility_group.in_(groups)
    )
    target = sa.select(data_source.c.id).where(
        data_source.c.id == row.to_id,
        data_source.c.schema == row.schema,
        data_source.c.state != State.DISABLED.value,
    )
    return bool(connection.execute(own).first() and connection.execute(target).first())


def _refuses(connection: sa.Connection, row: Any) -> bool:
    """It has refused rows since the move began, which nobody has replayed or let go yet: the old one may have
    them, and would lose them."""
    since = sa.select(rejected_row.c.id).where(
        rejected_row.c.refused_by == row.to_id,
        rejected_row.c.state == "open",
        rejected_row.c.last_seen >= row.started_at,
    )
    return connection.execute(since.limit(1)).first() is not None


def unread(connection: sa.Connection, move_id: str) -> list[FeedId]:
    undone = (
        sa.select(move_feed.c.feed_id)
        .join(feed, feed.c.id == move_feed.c.feed_id)
        .where(move_feed.c.move_id == move_id, sa.not_(move_feed.c.done), feed.c.state == "active")
    )
    return [FeedId(id_) for id_ in connection.execute(undone.order_by(feed.c.id)).scalars()]


def flip(connection: sa.Connection, row: Any, who: Sequence[str]) -> None:
    own = own_binding(row.customer_id, row.schema)
    change = (
        sa.update(binding)
        .where(own)
        .values(
            data_source_id=row.to_id,
            state="active",
            moving_to=None,
            origin="explicit",
            epoch=binding.c.epoch + 1,
        )
    )
    connection.execute(change)
    reside(connection, row.customer_id, row.schema, who, row.to_id)


def stay(connection: sa.Connection, row: Any) -> None:
    """The binding is as it was before the move."""
    own = own_binding(row.customer_id, row.schema)
    connection.execute(sa.update(binding).where(own).values(state="active", moving_to=None))
    if not row.made_binding:
        return
    kept = connection.execute(sa.select(binding).where(own)).one()
    connection.execute(sa.delete(binding).where(own))
    who = connection.execute(sa.select(customer).where(customer.c.id == row.customer_id)).one()
    name = who.provided_id
    inherited = routes_of(connection, row.schema, who.visibility_group, [name])[name]
    if inherited.names != kept.data_source_id:
        # What it inherited has gone elsewhere meanwhile, without it.
        connection.execute(sa.insert(binding).values(dict(kept._mapping)))  # noqa: SLF001


def end(connection: sa.Connection, row: Any, state: MoveState, *, actor: str) -> None:
    ended = sa.update(move).where(move.c.id == row.id).values(state=state.value, ended_at=now())
    connection.execute(ended)
    who = connection.execute(sa.select(customer).where(customer.c.id == row.customer_id)).one()
    line = AuditLine(
        actor=actor,
        action="customer.move.end" if state is MoveState.MOVED else "customer.move.cancel",
        visibility_group=who.visibility_group,
        customer=who.provided_id,
        schema=row.schema,
        data_source_id=row.to_id if state is MoveState.MOVED else row.from_id,
        detail={"move": row.id},
    )
    append_audit(connection, line)
