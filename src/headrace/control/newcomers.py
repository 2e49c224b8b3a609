"""Customers whose first rows are journalled: where they reside from then on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache

import sqlalchemy as sa

from headrace.control.being_dropped import being_dropped
from headrace.control.engine import insert_in
from headrace.control.move_tables import residence
from headrace.control.slices import slices
from headrace.control.tables import (
    binding,
    customer,
)
from headrace.errors import RoutingChangedError
from headrace.ports import Newcomer


def note_newcomers(connection: sa.Connection, newcomers: Sequence[Newcomer]) -> None:
    """It is known where each of them resides, and a default that led there is its own binding.

    Routing is held: nobody who resolved otherwise writes at the same time.

    Raises:
        RoutingChangedError: another customer of the same `provided_id` came to reside there meanwhile.
    """
    if not newcomers:
        return
    dialect = connection.dialect.name
    settled = {(new.customer_id, new.schema): _place_of(new) for new in newcomers}
    connection.execute(_settle(dialect), list(settled.values()))
    for into in sorted({new.data_source_id for new in newcomers}):
        if names := being_dropped(connection, into):
            _await_drop(connection, newcomers, into, names)
    homes = _homes(connection, newcomers)
    if lost := [new.customer_id for new in newcomers if homes.get(new.customer_id) != new.data_source_id]:
        raise RoutingChangedError(f"customers {', '.join(lost[:3])} reside elsewhere by now")
    if pinned := [_place_of(new) for new in newcomers if new.pinned]:
        connection.execute(_pin(dialect), pinned)


def _await_drop(
    connection: sa.Connection, newcomers: Sequence[Newcomer], into: str, names: Collection[str]
) -> None:
    for ids in slices([new.customer_id for new in newcomers]):
        of_them = sa.and_(residence.c.customer_id.in_(ids), residence.c.data_source_id == into)
        waiting = sa.update(residence).where(of_them, residence.c.provided_id.in_(sorted(names)))
        connection.execute(waiting.values(awaits_drop=True))


def _place_of(new: Newcomer) -> dict[str, str]:
    return {"of_customer": new.customer_id, "of_schema": new.schema, "into": new.data_source_id}


def _homes(connection: sa.Connection, newcomers: Sequence[Newcomer]) -> dict[str, str]:
    """All of one schema: that of the feed."""
    found: dict[str, str] = {}
    for ids in slices([new.customer_id for new in newcomers]):
        some = {"ids": ids, "of_schema": newcomers[0].schema}
        found |= {row.customer_id: row.data_source_id for row in connection.execute(_HOMES, some)}
    return found


_HOMES = sa.select(residence.c.customer_id, residence.c.data_source_id).where(
    residence.c.customer_id.in_(sa.bindparam("ids", expanding=True)),
    residence.c.schema == sa.bindparam("of_schema"),
)


@cache
def _settle(dialect: str) -> sa.Executable:
    which = sa.select(
        customer.c.id,
        sa.bindparam("of_schema", type_=sa.Text()),
        sa.bindparam("into", type_=sa.Text()),
        customer.c.provided_id,
    ).where(customer.c.id == sa.bindparam("of_customer"))
    columns = ["customer_id", "schema", "data_source_id", "provided_id"]
    return insert_in(dialect, residence).from_select(columns, which).on_conflict_do_nothing()


@cache
def _pin(dialect: str) -> sa.Executable:
    values = {
        "customer_id": sa.bindparam("of_customer"),
        "schema": sa.bindparam("of_schema"),
        "data_source_id": sa.bindparam("into"),
        "origin": "pinned_default",
    }
    return insert_in(dialect, binding).values(values).on_conflict_do_nothing()
