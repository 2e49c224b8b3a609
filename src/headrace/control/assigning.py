"""Assignment over the tables: what may be named, and the bindings that come of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from headrace.control.engine import insert_or
from headrace.control.move_tables import residence
from headrace.control.tables import binding, data_source, data_source_group
from headrace.domain.assignment import Asked, Candidate, assigned
from headrace.domain.refusal import Refusal
from headrace.domain.routing import State
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError


def wanted_bindings(
    connection: sa.Connection,
    group: str,
    asked: Asked,
    *,
    customer_id: str | None = None,
    bound: Mapping[str, DataSourceId] | None = None,
) -> dict[str, DataSourceId]:
    """What `assigned` says of the group's data sources; those that are named are locked until the commit.

    Raises:
        RefusedError: as `assigned`.
    """
    candidates = _named(connection, group, asked)
    return assigned(asked, candidates, customer=customer_id, bound=bound)


def _named(connection: sa.Connection, group: str, asked: Asked) -> list[Candidate]:
    names = asked.mapping.values()
    ids = {asked.data_source_id, *(n.id for n in names)} - {None}
    provided = {asked.data_source_provided_id, *(n.provided_id for n in names)} - {None}
    if not (ids or provided):
        return []
    of_group = sa.select(data_source_group.c.data_source_id).where(
        data_source_group.c.visibility_group == group
    )
    rows = connection.execute(
        sa.select(data_source)
        .where(
            data_source.c.id.in_(of_group),
            sa.or_(data_source.c.id.in_(ids), data_source.c.provided_id.in_(provided)),
        )
        .order_by(data_source.c.id)
        # FOR NO KEY UPDATE: two customers do not get a dedicated one at a time, and journals do not wait.
        .with_for_update(key_share=True)
    ).all()
    return [
        Candidate(
            id=DataSourceId(row.id),
            provided_id=row.provided_id,
            schema=row.schema,
            dedicated=row.isolation == "dedicated",
            state=State(row.state),
            holders=holders_of(connection, row.id) if row.isolation == "dedicated" else frozenset(),
        )
        for row in rows
    ]


def holders_of(connection: sa.Connection, data_source_id: str) -> frozenset[str]:
    """Control's ids of the customers that are bound to it, or on their way to it.

    Whoever has records in it is bound to it, or below one that is, for the default is pinned.
    """
    holds = sa.or_(binding.c.data_source_id == data_source_id, binding.c.moving_to == data_source_id)
    return frozenset(connection.execute(sa.select(binding.c.customer_id).where(holds)).scalars())


def bind(connection: sa.Connection, customer_id: str, bindings: Mapping[str, DataSourceId]) -> None:
    """The customer has these bindings of its own; the epoch of each that changes is raised."""
    for schema, id_ in sorted(bindings.items()):
        insert = insert_or(connection, binding).values(
            customer_id=customer_id, schema=schema, data_source_id=id_, origin="explicit"
        )
        changed = binding.c.data_source_id != insert.excluded.data_source_id
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=[binding.c.customer_id, binding.c.schema],
                set_={
                    "data_source_id": insert.excluded.data_source_id,
                    "origin": "explicit",
                    "epoch": binding.c.epoch + sa.case((changed, 1), else_=0),
                },
            )
        )


def unbind(connection: sa.Connection, customer_id: str, schemas: Collection[str]) -> None:
    """The customer takes what it inherits in these schemas; where it has records it stays where they are, as
    if they had come there by the default."""
    resident = sa.select(residence.c.schema).where(residence.c.customer_id == customer_id)
    own = sa.and_(binding.c.customer_id == customer_id, binding.c.schema.in_(sorted(schemas)))
    stays = sa.and_(own, binding.c.schema.in_(resident))
    connection.execute(sa.update(binding).where(stays).values(origin="pinned_default"))
    connection.execute(sa.delete(binding).where(own, binding.c.schema.not_in(resident)))


def refuse_moving(bindings: Mapping[str, sa.Row[Any]], schemas: Collection[str]) -> None:
    """Raises RefusedError when one of these bindings is being moved."""
    moving = sorted(s for s in schemas if s in bindings and bindings[s].state == "moving")
    if moving:
        raise RefusedError(
            Refusal.MOVE_UNDER_WAY,
            f"the customer is being moved in {', '.join(moving)}: wait for the move, or cancel it",
            schemas=moving,
        )
