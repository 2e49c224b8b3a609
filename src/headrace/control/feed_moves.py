"""What a feed has to read for customers who move."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from headrace.control.customer_tree import with_descendants
from headrace.control.move_tables import MoveState, move, move_feed
from headrace.control.routes import routes_of
from headrace.control.slices import slices
from headrace.control.tables import batch, customer, feed, feed_log
from headrace.control.types import Json, from_now
from headrace.domain.vocabulary import DataSourceId, FeedId
from headrace.ports import FeedMove, JournalEntry

SETTLES_WITHIN_S: Final = 5.0

_UNDONE = sa.and_(sa.not_(move_feed.c.done), move.c.state == MoveState.READING.value)
_OF_FEED = (
    sa.select(move, move_feed.c.after_key)
    .join(move_feed, move_feed.c.move_id == move.c.id)
    .where(move_feed.c.feed_id == sa.bindparam("of_feed"), _UNDONE)
    .order_by(move.c.started_at, move.c.id)
)


_LIVE = sa.select(move.c.id).where(move.c.state == MoveState.READING.value)


def has_moves() -> sa.ColumnElement[bool]:
    """The feed of the statement around has rows to read for a move."""
    # Neither correlated nor joined: in what an UPDATE returns, SQLite's columns are named without tables.
    undone = sa.select(move_feed.c.feed_id).where(sa.not_(move_feed.c.done), move_feed.c.move_id.in_(_LIVE))
    return feed.c.id.in_(undone)


def settles() -> sa.ColumnElement[bool]:
    """A move into a data source of the feed (`of_feed`) waits but for batches of a moment ago to be merged
    there: it ends when none waits, and of busy feeds there always is one.

    Batches that are older may wait for a data source that is away, for which nobody else is to wait.
    """
    waits = sa.and_(batch.c.data_source_id == move.c.to_id, batch.c.state == "pending")
    anew = feed_log.alias("anew")
    aged = sa.or_(batch.c.journalled_at < from_now(-SETTLES_WITHIN_S), batch.c.next_attempt_at.is_not(None))
    return sa.exists().where(
        feed_log.c.feed_id == sa.bindparam("of_feed"),
        feed_log.c.data_source_id == move.c.to_id,
        move.c.state == MoveState.READING.value,
        sa.not_(
            sa.exists().where(move_feed.c.move_id == move.c.id, sa.not_(move_feed.c.done)).correlate(move)
        ),
        sa.not_(
            sa.exists().where(anew.c.data_source_id == move.c.to_id, anew.c.wants_reconcile).correlate(move)
        ),
        sa.exists().where(waits).correlate(move),
        sa.not_(sa.exists().where(waits, aged).correlate(move)),
    )


def feed_moves(connection: sa.Connection, feed_id: FeedId) -> tuple[FeedMove, ...]:
    """Moves under way for which the feed has not read all rows yet, oldest first."""
    return tuple(
        FeedMove(
            id=row.id,
            into=DataSourceId(row.to_id),
            customers=movers(connection, row.customer_id, row.schema),
            after=None if row.after_key is None else tuple(row.after_key),
        )
        for row in connection.execute(_OF_FEED, {"of_feed": feed_id}).all()
    )


def movers(connection: sa.Connection, customer_id: str, schema: str) -> tuple[str, ...]:
    """Who follows the customer's binding of this schema (`provided_id`), itself included."""
    family = sa.select(customer.c.id, customer.c.provided_id, customer.c.visibility_group)
    rows: list[Any] = []
    for some in slices(sorted(with_descendants(connection, [customer_id]))):
        rows += connection.execute(family.where(customer.c.id.in_(some)))
    head = next(row for row in rows if row.id == customer_id)
    names = sorted(row.provided_id for row in rows if row.visibility_group == head.visibility_group)
    routes = routes_of(connection, schema, head.visibility_group, names)
    follow = {name for name, route in routes.items() if route.bound_by == head.provided_id}
    return tuple(name for name in names if name in follow or name == head.provided_id)


def read_again_for_moves(connection: sa.Connection, feed_id: FeedId) -> None:
    """What the feed has read for moves is void: not all of it was merged."""
    again = (
        sa.update(move_feed)
        .where(move_feed.c.feed_id == feed_id, move_feed.c.move_id.in_(_LIVE))
        .values(done=False, after_key=sa.null())
    )
    connection.execute(again)


def join_moves(connection: sa.Connection, feed_id: FeedId, model_id: str) -> None:
    """A feed that was made now reads for the moves that feeds of its model read for: it may have taken the
    place of one, and then a part of what that one has read is void."""
    moving = (
        sa.select(move_feed.c.move_id, sa.literal(feed_id))
        .join(feed, feed.c.id == move_feed.c.feed_id)
        .where(move_feed.c.move_id.in_(_LIVE), feed.c.model_id == model_id)
        .distinct()
    )
    connection.execute(sa.insert(move_feed).from_select(["move_id", "feed_id"], moving))


def note_move(connection: sa.Connection, feed_id: FeedId, entry: JournalEntry) -> None:
    """How far the feed has read for a move, with the rows that it has read."""
    if entry.move is None:
        return
    read = {
        "of_feed": feed_id,
        "of_move": entry.move.move_id,
        "after_key": None if entry.move.after is None else list(entry.move.after),
        "done": entry.move.done,
        "more": entry.rows_read,
    }
    connection.execute(_NOTE_MOVE, read)


_NOTE_MOVE = (
    sa.update(move_feed)
    .where(move_feed.c.feed_id == sa.bindparam("of_feed"), move_feed.c.move_id == sa.bindparam("of_move"))
    .values(
        after_key=sa.bindparam("after_key", type_=Json),
        done=sa.bindparam("done", type_=sa.Boolean()),
        rows=move_feed.c.rows + sa.bindparam("more", type_=sa.BigInteger()),
    )
)
