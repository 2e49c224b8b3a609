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

from headrace.control.audit import AuditLine, append_audit
from headrace.control.being_dropped import being_dropped
from headrace.control.customer_tree import with_descendants
from headrace.control.dropping import drop_rows, lock_feeds
from headrace.control.engine import insert_or, reading, writing
from headrace.control.feed_moves import movers
from headrace.control.move_tables import MoveState, left_behind, move, move_feed, residence
from headrace.control.move_target import check_target
from headrace.control.new_id import new_uuid
from headrace.control.routes import routes_of
from headrace.control.routing_change import changing_moves
from headrace.control.slices import slices
from headrace.control.tables import (
    batch,
    binding,
    customer,
    data_source,
    data_source_group,
    feed,
    feed_log,
)
from headrace.control.types import now
from headrace.domain.refusal import Refusal
from headrace.domain.routing import Route, State
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


@dataclass(frozen=True, slots=True)
class _Asked:
    """A move that is to begin: of whom, and where they are."""

    customer_id: str
    name: str
    group: str
    schema: str
    route: Route
    target: DataSourceId

    @property
    def source(self) -> DataSourceId:
        assert self.route.data_source is not None  # noqa: S101 (`_asked` refuses the rest)
        return self.route.data_source


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
                _stay(connection, row)
                drop_rows(
                    connection,
                    held,
                    data_source_id=row.to_id,
                    customers=who,
                    version=version,
                    new_id=self._new_id,
                )
            _end(connection, row, MoveState.CANCELLED, actor=actor)
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
            if row.state != MoveState.READING.value or not _is_read(connection, row):
                return ()
            with changing_moves(connection, whom=[row.customer_id]) as version:
                who = movers(connection, row.customer_id, row.schema)
                _flip(connection, row, who)
                models = drop_rows(
                    connection,
                    held,
                    data_source_id=row.from_id,
                    customers=who,
                    version=version,
                    new_id=self._new_id,
                )
            _end(connection, row, MoveState.MOVED, actor=row.actor)
        return [(DataSourceId(row.from_id), model) for model in models]


def begin_move(
    connection: sa.Connection,
    customer_id: str,
    schema: str,
    to: DataSourceId,
    *,
    actor: str,
    new_id: Callable[[], str] = new_uuid,
) -> str:
    """See `SqlMoves.start`; the caller holds the feeds (`lock_feeds`). Gives the id of the move."""
    with changing_moves(connection, whom=[customer_id]) as version:
        asked = _asked(connection, customer_id, schema, to)
        if asked.route.data_source is None:
            raise RefusedError(
                Refusal.DATA_SOURCE_UNAVAILABLE,
                f"{asked.route.refusal}: there is nothing to move from; give the customer another data "
                "source with switch_only",
            )
        made = _bind(connection, asked, data_source_id=asked.source, state="moving", moving_to=to)
        who = movers(connection, customer_id, schema)
        _drop_leftovers(connection, asked, who, version=version, new_id=new_id)
        if has_residents(connection, customer_id, schema):
            move_id = _insert(connection, asked, actor=actor, new_id=new_id, made_binding=made)
            _ask_feeds(connection, move_id, asked.source)
        else:
            _arrive(connection, asked)
            move_id = _insert(connection, asked, actor=actor, new_id=new_id, ended=MoveState.MOVED)
    _note(connection, asked, "customer.move.start", actor=actor, customers=list(who), move=move_id)
    return move_id


def switch_only(
    connection: sa.Connection,
    customer_id: str,
    schema: str,
    to: DataSourceId,
    *,
    actor: str,
    new_id: Callable[[], str] = new_uuid,
) -> str:
    """See `SqlMoves.switch`; the caller holds the feeds (`lock_feeds`). Gives the id of the move."""
    with changing_moves(connection, whom=[customer_id]):
        asked = _asked(connection, customer_id, schema, to)
        _bind(connection, asked, data_source_id=to, state="active", moving_to=None)
        who = movers(connection, customer_id, schema)
        _leave_behind(connection, asked, who)
        _reside(connection, customer_id, schema, who, to)
        move_id = _insert(connection, asked, actor=actor, new_id=new_id, ended=MoveState.MOVED)
    _note(connection, asked, "customer.switch", actor=actor, customers=list(who), left_in=asked.route.names)
    return move_id


# --- beginning ----------------------------------------------------------------------------------


def _asked(connection: sa.Connection, customer_id: str, schema: str, to: DataSourceId) -> _Asked:
    found = connection.execute(sa.select(customer).where(customer.c.id == customer_id)).one_or_none()
    if found is None:
        raise RefusedError(Refusal.NOT_FOUND, "there is no such customer")
    route = routes_of(connection, schema, found.visibility_group, [found.provided_id])[found.provided_id]
    if route.names is None:
        raise RefusedError(Refusal.NO_DATA_SOURCE, f"the customer has no data source of schema {schema}")
    if route.moving_to is not None:
        raise RefusedError(
            Refusal.MOVE_UNDER_WAY,
            f"the customer is being moved to {route.moving_to} already: wait for it, or cancel it first",
        )
    if route.names == to:
        raise RefusedError(Refusal.DATA_SOURCE_CONFLICT, f"the customer is in {to} already")
    check_target(
        connection,
        to,
        schema=schema,
        group=found.visibility_group,
        family=with_descendants(connection, [customer_id]),
    )
    return _Asked(customer_id, found.provided_id, found.visibility_group, schema, route, to)


def _bind(
    connection: sa.Connection,
    asked: _Asked,
    *,
    data_source_id: str,
    state: str,
    moving_to: str | None,
) -> bool:
    """The customer has a binding of its own, as told; True when it had none."""
    own = _own_binding(asked.customer_id, asked.schema)
    values = {"data_source_id": data_source_id, "state": state, "moving_to": moving_to}
    change = sa.update(binding).where(own)
    if state == "active":
        change = change.values(origin="explicit", epoch=binding.c.epoch + 1)
    if connection.execute(change.values(values)).rowcount:
        return False
    whose = {"customer_id": asked.customer_id, "schema": asked.schema, "origin": "explicit"}
    connection.execute(sa.insert(binding).values(whose | values))
    return True


def _own_binding(customer_id: str, schema: str) -> sa.ColumnElement[bool]:
    return sa.and_(binding.c.customer_id == customer_id, binding.c.schema == schema)


def has_residents(connection: sa.Connection, customer_id: str, schema: str) -> bool:
    """The customer or somebody below it has records where its binding leads."""
    for some in slices(sorted(with_descendants(connection, [customer_id]))):
        home = sa.select(residence.c.customer_id).where(
            residence.c.customer_id.in_(some), residence.c.schema == schema
        )
        if connection.execute(home.limit(1)).one_or_none() is not None:
            return True
    return False


def _insert(
    connection: sa.Connection,
    asked: _Asked,
    *,
    actor: str,
    new_id: Callable[[], str],
    made_binding: bool = False,
    ended: MoveState | None = None,
) -> str:
    move_id = new_id()
    values = {
        "id": move_id,
        "customer_id": asked.customer_id,
        "schema": asked.schema,
        "from_id": asked.route.names,
        "to_id": asked.target,
        "state": (ended or MoveState.READING).value,
        "made_binding": made_binding,
        "actor": actor,
        "started_at": now(),
        "ended_at": None if ended is None else now(),
    }
    connection.execute(sa.insert(move).values(values))
    return move_id


def _ask_feeds(connection: sa.Connection, move_id: str, source: str) -> None:
    """Every feed that has written to the old data source reads its rows again; others have none there."""
    wrote = (
        sa.select(sa.literal(move_id), feed.c.id)
        .join(feed_log, feed_log.c.feed_id == feed.c.id)
        .where(feed.c.state == "active", feed_log.c.data_source_id == source)
    )
    connection.execute(sa.insert(move_feed).from_select(["move_id", "feed_id"], wrote))
    asked = sa.select(move_feed.c.feed_id).where(move_feed.c.move_id == move_id)
    connection.execute(sa.update(feed).where(feed.c.id.in_(asked), sa.not_(feed.c.paused)).values(again=True))


def _leave_behind(connection: sa.Connection, asked: _Asked, who: Sequence[str]) -> None:
    """It is known where these customers' records stay; those that they find again are theirs."""
    family, leaving = sorted(with_descendants(connection, [asked.customer_id])), set(who)
    for some in slices(family):
        found = sa.and_(left_behind.c.data_source_id == asked.target, left_behind.c.customer_id.in_(some))
        connection.execute(sa.delete(left_behind).where(found))
        homes = connection.execute(
            sa.select(residence.c.data_source_id, residence.c.provided_id, residence.c.customer_id).where(
                residence.c.customer_id.in_(some), residence.c.schema == asked.schema
            )
        )
        left = [dict(home._mapping) for home in homes if home.provided_id in leaving]  # noqa: SLF001
        if left:
            insert = insert_or(connection, left_behind)
            connection.execute(insert.on_conflict_do_nothing(), left)


def _drop_leftovers(
    connection: sa.Connection,
    asked: _Asked,
    who: Sequence[str],
    *,
    version: int,
    new_id: Callable[[], str],
) -> None:
    """What these customers once left behind where they move to is dropped: no log has told it of changes."""
    family = sorted(with_descendants(connection, [asked.customer_id]))
    names: list[str] = []
    for some in slices(family):
        found = sa.and_(left_behind.c.data_source_id == asked.target, left_behind.c.customer_id.in_(some))
        gone = sa.delete(left_behind).where(found, left_behind.c.provided_id.in_(who))
        names += connection.execute(gone.returning(left_behind.c.provided_id)).scalars()
    if names:
        # As they are now: an apply may have changed them in this transaction.
        feeds = lock_feeds(connection)
        drop_rows(
            connection,
            feeds,
            data_source_id=asked.target,
            customers=sorted(names),
            version=version,
            new_id=new_id,
        )


def _note(connection: sa.Connection, asked: _Asked, action: str, *, actor: str, **detail: Any) -> None:
    line = AuditLine(
        actor=actor,
        action=action,
        visibility_group=asked.group,
        customer=asked.name,
        schema=asked.schema,
        data_source_id=asked.target,
        epoch=asked.route.epoch,
        via=asked.route.via,
        detail=detail,
    )
    append_audit(connection, line)


# --- ending -------------------------------------------------------------------------------------


def _is_read(connection: sa.Connection, row: Any) -> bool:
    """Every feed has read its rows, and all that was journalled for the new data source is merged, so that it
    is not behind the old one; and it serves."""
    if _unread(connection, row.id) or not _serves(connection, row):
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


def _unread(connection: sa.Connection, move_id: str) -> list[FeedId]:
    undone = (
        sa.select(move_feed.c.feed_id)
        .join(feed, feed.c.id == move_feed.c.feed_id)
        .where(move_feed.c.move_id == move_id, sa.not_(move_feed.c.done), feed.c.state == "active")
    )
    return [FeedId(id_) for id_ in connection.execute(undone.order_by(feed.c.id)).scalars()]


def _flip(connection: sa.Connection, row: Any, who: Sequence[str]) -> None:
    own = _own_binding(row.customer_id, row.schema)
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
    _reside(connection, row.customer_id, row.schema, who, row.to_id)


def _reside(connection: sa.Connection, customer_id: str, schema: str, who: Sequence[str], to: str) -> None:
    """Those of the customer's family who follow its binding, and have records, reside in `to`."""
    ids = sorted(with_descendants(connection, [customer_id]))
    awaits = residence.c.provided_id.in_(sorted(being_dropped(connection, to)))
    for some in slices(ids):
        for names in slices(who):
            change = sa.update(residence).where(
                residence.c.customer_id.in_(some),
                residence.c.schema == schema,
                residence.c.provided_id.in_(names),
            )
            connection.execute(change.values(data_source_id=to, awaits_drop=awaits))


def _arrive(connection: sa.Connection, asked: _Asked) -> None:
    """Without records there is nothing to wait for."""
    _bind(connection, asked, data_source_id=asked.target, state="active", moving_to=None)


def _stay(connection: sa.Connection, row: Any) -> None:
    """The binding is as it was before the move."""
    own = _own_binding(row.customer_id, row.schema)
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


def _end(connection: sa.Connection, row: Any, state: MoveState, *, actor: str) -> None:
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


# --- reading ------------------------------------------------------------------------------------

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
        read=_is_read(connection, row),
        dated=row.dated,
        unread=tuple(_unread(connection, row.id)),
    )
