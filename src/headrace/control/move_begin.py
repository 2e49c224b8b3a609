"""How a move begins, or a customer is switched without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from headrace.control.audit import AuditLine, append_audit
from headrace.control.customer_tree import with_descendants
from headrace.control.dropping import drop_rows, lock_feeds
from headrace.control.engine import insert_or
from headrace.control.feed_moves import movers
from headrace.control.move_binding import own_binding, reside
from headrace.control.move_tables import MoveState, left_behind, move, move_feed, residence
from headrace.control.move_target import check_target
from headrace.control.new_id import new_uuid
from headrace.control.routes import routes_of
from headrace.control.routing_change import changing_moves
from headrace.control.slices import slices
from headrace.control.tables import (
    binding,
    customer,
    feed,
    feed_log,
)
from headrace.control.types import now
from headrace.domain.refusal import Refusal
from headrace.domain.routing import Route
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError


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
        reside(connection, customer_id, schema, who, to)
        move_id = _insert(connection, asked, actor=actor, new_id=new_id, ended=MoveState.MOVED)
    _note(connection, asked, "customer.switch", actor=actor, customers=list(who), left_in=asked.route.names)
    return move_id


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
    own = own_binding(asked.customer_id, asked.schema)
    values = {"data_source_id": data_source_id, "state": state, "moving_to": moving_to}
    change = sa.update(binding).where(own)
    if state == "active":
        change = change.values(origin="explicit", epoch=binding.c.epoch + 1)
    if connection.execute(change.values(values)).rowcount:
        return False
    whose = {"customer_id": asked.customer_id, "schema": asked.schema, "origin": "explicit"}
    connection.execute(sa.insert(binding).values(whose | values))
    return True


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


def _arrive(connection: sa.Connection, asked: _Asked) -> None:
    """Without records there is nothing to wait for."""
    _bind(connection, asked, data_source_id=asked.target, state="active", moving_to=None)
