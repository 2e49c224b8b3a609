"""Moves of customers from one data source to another (the port `Moves`, and what begins and cancels them).

A move begins with one transaction, after which the customers' rows are journalled to both data sources,
and ends with another, which flips the binding and journals what drops the customers' rows from the old one.
Between them every feed reads the customers' rows once more for the new one (`steps.move_reading`).

Order of locks, here and everywhere: feed, routing_version, feed_log, batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from headrace.control.dropping import drop_rows, lock_feeds
from headrace.control.engine import reading, writing
from headrace.control.feed_moves import movers
from headrace.control.move_begin import begin_move, switch_only
from headrace.control.move_end import end, flip, is_read, stay, unread
from headrace.control.move_tables import MoveState, move, move_feed
from headrace.control.new_id import new_uuid
from headrace.control.routing_change import changing_moves
from headrace.control.slices import slices
from headrace.control.tables import (
    customer,
    feed,
)
from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import DataSourceId, FeedId, ModelId
from headrace.errors import RefusedError
from headrace.ports import MoveUnderWay


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A move as people see it.

    Attributes:
        customer_id: control's id of the customer who was asked to move; others follow (`customers`).
        feeds: how many feeds read rows for it, and how many of them are done.
        rows: source rows that they have read.
    """

    id: str
    customer_id: str
    customer: str
    visibility_group: str
    schema: str
    source: DataSourceId
    target: DataSourceId
    state: MoveState
    actor: str
    started_at: datetime
    ended_at: datetime | None
    feeds: int
    feeds_done: int
    rows: int


class SqlMoves:
    """Moves in the control database. Safe to share between threads."""

    def __init__(self, engine: sa.Engine, *, new_id: Callable[[], str] = new_uuid) -> None:
        self._engine = engine
        self._new_id = new_id

    def refuse_owned_by_config(self, customer_id: str) -> None:
        """Asked before anybody but `apply` moves a customer: the next apply would lead it back, or refuse.

        Raises:
            RefusedError: `owned_by_config`: a file says who the customer is.
        """
        with reading(self._engine) as connection:
            config_id = sa.select(customer.c.config_id).where(customer.c.id == customer_id)
            file = connection.execute(config_id).scalar_one_or_none()
        if file is not None:
            raise RefusedError(
                Refusal.OWNED_BY_CONFIG,
                f"the customer is defined in customers/{file}.json: change its data_sources there, and run "
                "`headrace apply --move`, or `headrace apply --switch-only` to leave its records behind",
            )

    def start(self, customer_id: str, schema: str, to: DataSourceId, *, actor: str) -> Move:
        """The customer, and whoever inherits its binding, is being moved; without records, has moved.

        Raises:
            RefusedError: there is no such customer or data source, it may not have the customer, or a move is
                under way.
        """
        with writing(self._engine) as connection:
            lock_feeds(connection)
            move_id = begin_move(connection, customer_id, schema, to, actor=actor, new_id=self._new_id)
        return self.get(move_id)

    def switch(self, customer_id: str, schema: str, to: DataSourceId, *, actor: str) -> Move:
        """The customer's rows go to the other data source from now on; those that are stored stay behind,
        where nobody reads them any more.

        Raises:
            RefusedError: as `start`.
        """
        with writing(self._engine) as connection:
            lock_feeds(connection)
            move_id = switch_only(connection, customer_id, schema, to, actor=actor, new_id=self._new_id)
        return self.get(move_id)

    def cancel(self, move_id: str, *, actor: str) -> Move:
        """The customers stay where they were; what the other data source has of them is journalled to be
        dropped.

        Raises:
            RefusedError: there is no such move, or it has ended.
        """
        with writing(self._engine) as connection:
            held = lock_feeds(connection)
            row = _row(connection, move_id)
            if row.state != MoveState.READING.value:
                raise RefusedError(Refusal.MOVE_ENDED, f"the move is over: the customer has {row.state}")
            with changing_moves(connection, whom=[row.customer_id]) as version:
                who = movers(connection, row.customer_id, row.schema)
                stay(connection, row)
                drop_rows(
                    connection,
                    held,
                    data_source_id=row.to_id,
                    customers=who,
                    version=version,
                    new_id=self._new_id,
                )
            end(connection, row, MoveState.CANCELLED, actor=actor)
        return self.get(move_id)

    def get(self, move_id: str) -> Move:
        """Raises RefusedError: there is no such move."""
        with reading(self._engine) as connection:
            row = connection.execute(_TOLD.where(move.c.id == move_id)).one_or_none()
        if row is None:
            raise RefusedError(Refusal.NOT_FOUND, "there is no such move")
        return _move(row)

    def list(
        self,
        *,
        customer_id: str | None = None,
        data_source_id: str | None = None,
        live: bool = False,
    ) -> list[Move]:
        """Moves, the latest first: of a customer, from or to a data source, those under way."""
        query = _TOLD.order_by(move.c.started_at.desc(), move.c.id)
        if customer_id is not None:
            query = query.where(move.c.customer_id == customer_id)
        if data_source_id is not None:
            query = query.where(sa.or_(move.c.from_id == data_source_id, move.c.to_id == data_source_id))
        if live:
            query = query.where(move.c.state == MoveState.READING.value)
        with reading(self._engine) as connection:
            return [_move(row) for row in connection.execute(query)]

    # --- the port -------------------------------------------------------------------------------

    def under_way(self, *, into: DataSourceId | None = None) -> Sequence[MoveUnderWay]:
        query = sa.select(move).where(move.c.state == MoveState.READING.value)
        if into is not None:
            query = query.where(move.c.to_id == into)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(move.c.started_at, move.c.id)).all()
            return [_under_way(connection, row) for row in rows]

    def ask_for(self, feed_ids: Sequence[FeedId]) -> None:
        ask = sa.update(feed).where(feed.c.state == "active", sa.not_(feed.c.paused)).values(again=True)
        with writing(self._engine) as connection:
            for some in slices(feed_ids):
                connection.execute(ask.where(feed.c.id.in_(some)))

    def note_dated(self, move_id: str) -> None:
        with writing(self._engine) as connection:
            connection.execute(sa.update(move).where(move.c.id == move_id).values(dated=True))

    def flip(self, move_id: str) -> Sequence[tuple[DataSourceId, ModelId]]:
        with writing(self._engine) as connection:
            held = lock_feeds(connection)
            row = _row(connection, move_id)
            # Nothing is journalled while the feeds are locked: what is merged now is all that there is.
            if row.state != MoveState.READING.value or not is_read(connection, row):
                return ()
            with changing_moves(connection, whom=[row.customer_id]) as version:
                who = movers(connection, row.customer_id, row.schema)
                flip(connection, row, who)
                models = drop_rows(
                    connection,
                    held,
                    data_source_id=row.from_id,
                    customers=who,
                    version=version,
                    new_id=self._new_id,
                )
            end(connection, row, MoveState.MOVED, actor=row.actor)
        return [(DataSourceId(row.from_id), model) for model in models]


_FEEDS = (
    sa.select(
        move_feed.c.move_id,
        sa.func.count().label("feeds"),
        sa.func.sum(sa.case((move_feed.c.done, 1), else_=0)).label("feeds_done"),
        sa.func.sum(move_feed.c.rows).label("rows"),
    )
    .group_by(move_feed.c.move_id)
    .subquery()
)
_TOLD = (
    sa.select(
        move,
        customer.c.provided_id,
        customer.c.visibility_group,
        sa.func.coalesce(_FEEDS.c.feeds, 0).label("feeds"),
        sa.func.coalesce(_FEEDS.c.feeds_done, 0).label("feeds_done"),
        sa.func.coalesce(_FEEDS.c.rows, 0).label("rows"),
    )
    .join(customer, customer.c.id == move.c.customer_id)
    .outerjoin(_FEEDS, _FEEDS.c.move_id == move.c.id)
)


def _row(connection: sa.Connection, move_id: str) -> Any:
    """The move's row, locked. Raises RefusedError: there is none."""
    row = connection.execute(sa.select(move).where(move.c.id == move_id).with_for_update()).one_or_none()
    if row is None:
        raise RefusedError(Refusal.NOT_FOUND, "there is no such move")
    return row


def _move(row: Any) -> Move:
    return Move(
        id=row.id,
        customer_id=row.customer_id,
        customer=row.provided_id,
        visibility_group=row.visibility_group,
        schema=row.schema,
        source=DataSourceId(row.from_id),
        target=DataSourceId(row.to_id),
        state=MoveState(row.state),
        actor=row.actor,
        started_at=row.started_at,
        ended_at=row.ended_at,
        feeds=int(row.feeds),
        feeds_done=int(row.feeds_done),
        rows=int(row.rows),
    )


def _under_way(connection: sa.Connection, row: Any) -> MoveUnderWay:
    return MoveUnderWay(
        id=row.id,
        schema=row.schema,
        customers=movers(connection, row.customer_id, row.schema),
        source=DataSourceId(row.from_id),
        target=DataSourceId(row.to_id),
        read=is_read(connection, row),
        dated=row.dated,
        unread=tuple(unread(connection, row.id)),
    )
