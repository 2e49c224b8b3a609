"""What a change of routing would do, seen by making it in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from headrace.control.applied_ids import groups_of, schemas_of
from headrace.control.customer_tree import with_descendants
from headrace.control.engine import writing
from headrace.control.move_tables import residence
from headrace.control.routes import routes_of
from headrace.control.slices import slices
from headrace.control.tables import customer
from headrace.domain.routing import Route
from headrace.domain.vocabulary import DataSourceId

SHOWN: Final = 100

_Key = tuple[str, str, str]
"""Visibility group, schema, and a customer's `provided_id`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Led:
    """A customer whom a change leads elsewhere in a schema; None: to no data source that serves.

    Attributes:
        has_records: where it is led from; they would stay behind, or nobody could read them.
    """

    visibility_group: str
    schema: str
    customer: str
    before: DataSourceId | None
    after: DataSourceId | None
    has_records: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """Who is affected by a change.

    Attributes:
        changing: routes that change at once; of customers with records only if they are then led nowhere.
        held: routes that would change although there are records: the change is refused until they moved.
        staying: customers with records that stay where they are.
        led: the first of them, those with records first.
    """

    changing: int
    held: int
    staying: int
    led: tuple[Led, ...]


class _Undone(Exception):  # noqa: N818 (no error: how a transaction is rolled back)
    pass


def foreseen(
    engine: sa.Engine,
    change: Callable[[sa.Connection], object],
    *,
    group: str | None = None,
    whom: Collection[str] | None = None,
) -> Impact:
    """The impact of a change, which is made and rolled back.

    Args:
        group: the only visibility group whose routes may change; None: any.
        whom: the only customers (control's ids), with all below them; None: any.
    """
    found: list[Impact] = []
    try:
        with writing(engine) as connection:
            names = None if whom is None else _names(connection, with_descendants(connection, whom))
            groups = groups_of(connection) if group is None else (group,)
            before = _routes(connection, groups, names)
            change(connection)
            names = None if whom is None else _names(connection, with_descendants(connection, whom))
            after = _routes(connection, groups, names)
            found.append(_compared(before, after, _residents(connection, groups)))
            raise _Undone
    except _Undone:
        return found[0]


def _compared(before: dict[_Key, Route], after: dict[_Key, Route], homes: dict[_Key, str]) -> Impact:
    led: list[Led] = []
    staying = held = 0
    for key, route in sorted(after.items()):
        old = before.get(key)
        was = old.data_source if old is not None else None
        if old is None or was == route.data_source:
            staying += key in homes
            continue
        # One that serves no more holds the records all the same: they are not led away from.
        held += key in homes and route.names != homes[key]
        group, schema, name = key
        led.append(
            Led(
                visibility_group=group,
                schema=schema,
                customer=name,
                before=was,
                after=route.data_source,
                has_records=key in homes,
            )
        )
    led.sort(key=lambda one: not one.has_records)
    return Impact(changing=len(led) - held, held=held, staying=staying, led=tuple(led[:SHOWN]))


def _routes(
    connection: sa.Connection, groups: Sequence[str], names: Sequence[str] | None
) -> dict[_Key, Route]:
    return {
        (group, schema, name): route
        for group in groups
        for schema in schemas_of(connection)
        for name, route in routes_of(connection, schema, group, names).items()
    }


def _residents(connection: sa.Connection, groups: Sequence[str]) -> dict[_Key, str]:
    rows = connection.execute(
        sa.select(
            customer.c.visibility_group,
            residence.c.schema,
            customer.c.provided_id,
            residence.c.data_source_id,
        )
        .join_from(residence, customer, customer.c.id == residence.c.customer_id)
        .where(customer.c.visibility_group.in_(groups))
    )
    return {(row.visibility_group, row.schema, row.provided_id): row.data_source_id for row in rows}


def _names(connection: sa.Connection, ids: Collection[str]) -> list[str]:
    names: list[str] = []
    for some in slices(sorted(ids)):
        rows = sa.select(customer.c.provided_id).where(customer.c.id.in_(some or ()))
        names += connection.execute(rows).scalars()
    return names
