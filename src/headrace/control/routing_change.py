"""A change of routing: nobody is led away from records, and what was resolved before is resolved again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from headrace.control.customer_tree import with_descendants
from headrace.control.move_tables import residence
from headrace.control.routes import routes_of
from headrace.control.slices import slices
from headrace.control.tables import (
    binding,
    customer,
    data_source,
    data_source_group,
    default_data_source,
    routing_version,
)
from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError

_SHOWN = 10
_Place = tuple[str, str, str]
"""Visibility group, schema, and a customer's `provided_id`."""

_MOVING = sa.select(binding.c.customer_id).where(binding.c.moving_to.is_not(None)).limit(1)

_LOCK = sa.select(routing_version.c.version).with_for_update()
_RAISE = sa.update(routing_version).values(version=routing_version.c.version + 1)
_RESIDENTS = sa.select(
    customer.c.visibility_group,
    residence.c.schema,
    customer.c.provided_id,
    residence.c.data_source_id,
).join_from(residence, customer, customer.c.id == residence.c.customer_id)


@dataclass(frozen=True, slots=True)
class Stray:
    """A customer whom a change would lead away from its records; `leads_to` is None when nowhere."""

    visibility_group: str
    schema: str
    customer: str
    resides_in: DataSourceId
    leads_to: DataSourceId | None

    def __str__(self) -> str:
        to = f"to {self.leads_to}" if self.leads_to else "nowhere"
        return (
            f"customer {self.customer} of {self.visibility_group} has records of schema {self.schema} in "
            f"{self.resides_in}, and would be led {to}"
        )


@contextmanager
def changing_routing(connection: sa.Connection, *, whom: Collection[str] | None = None) -> Iterator[int]:
    """What the block does to routing holds from the commit on; gives the version that routing has then.

    From here to the commit no page is journalled that was resolved by the old routing, and none after it.
    The version is raised though nothing changed: a page is then resolved twice, no more.

    Args:
        whom: control's ids of the customers whose routes may change, and with them those of whoever is below
            them; None: anybody's.

    Raises:
        RefusedError: `customer_has_records`: somebody would be led away from its records;
            `move_under_way`: somebody with records would enter or leave a move. The caller's transaction must
            end with it.
    """
    with changing_moves(connection, whom=whom) as version:
        before = movers_of(connection, whom)
        yield version
        if before != movers_of(connection, whom):
            raise RefusedError(Refusal.MOVE_UNDER_WAY, ENTERS_OR_LEAVES)


ENTERS_OR_LEAVES = (
    "a customer with records would enter or leave a move that is under way, for which rows of those alone "
    "are read who were in it from the start: wait for the move, or cancel it"
)


@contextmanager
def changing_moves(connection: sa.Connection, *, whom: Collection[str] | None) -> Iterator[int]:
    """As `changing_routing`, for who begins, ends or cancels a move."""
    version = int(connection.execute(_LOCK).scalar_one()) + 1
    yield version
    refuse_strays(strays(connection, whom))
    connection.execute(_RAISE)


def movers_of(connection: sa.Connection, whom: Collection[str] | None = None) -> dict[_Place, DataSourceId]:
    """Of these customers and whoever is below them: who has records and is being moved, and where to."""
    if connection.execute(_MOVING).first() is None:
        return {}
    return {
        (group, schema, name): route.moving_to
        for (group, schema), homes in _homes(connection, whom).items()
        for name, route in routes_of(connection, schema, group, sorted(homes)).items()
        if route.moving_to is not None
    }


def refuse_strays(found: Sequence[Stray]) -> None:
    """Raises RefusedError, naming the first ones, if there are any."""
    if not found:
        return
    named = "; ".join(map(str, found[:_SHOWN]))
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise RefusedError(
        Refusal.CUSTOMER_HAS_RECORDS,
        f"{named}{more}: move them first (`headrace customers move`), or switch without their records",
        customers=[stray.customer for stray in found[:_SHOWN]],
    )


def strays(connection: sa.Connection, whom: Collection[str] | None = None) -> list[Stray]:
    """Those of these customers, and of whoever is below them, who have records elsewhere than where they are
    led now."""
    found = []
    for (group, schema), of_customers in sorted(_homes(connection, whom).items()):
        routes = routes_of(connection, schema, group, sorted(of_customers))
        for name, home in sorted(of_customers.items()):
            route = routes.get(name)
            # One that is disabled serves nobody, and holds the records all the same.
            target = route.names if route else None
            if target != home:
                found.append(Stray(group, schema, name, DataSourceId(home), target))
    return found


def _homes(connection: sa.Connection, whom: Collection[str] | None) -> dict[tuple[str, str], dict[str, str]]:
    """Where they have records, by (visibility group, schema) and `provided_id`."""
    homes: dict[tuple[str, str], dict[str, str]] = {}
    for group, schema, name, home in _residents(connection, whom):
        homes.setdefault((group, schema), {})[name] = home
    return homes


def _residents(connection: sa.Connection, whom: Collection[str] | None) -> Iterator[Any]:
    if whom is None:
        yield from connection.execute(_RESIDENTS)
        return
    for some in slices(sorted(with_descendants(connection, whom))):
        yield from connection.execute(_RESIDENTS.where(customer.c.id.in_(some)))


def routing_rows(connection: sa.Connection) -> list[list[tuple[Any, ...]]]:
    """All that routes are made of, to be compared."""
    queries = (
        sa.select(data_source.c.id, data_source.c.schema, data_source.c.state),
        sa.select(data_source_group),
        sa.select(default_data_source),
        sa.select(customer.c.id, customer.c.parent_id, customer.c.visibility_group),
        sa.select(binding.c.customer_id, binding.c.schema, binding.c.data_source_id, binding.c.moving_to),
    )
    return [sorted((tuple(row) for row in connection.execute(q)), key=repr) for q in queries]
