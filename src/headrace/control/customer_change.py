"""What changes of a customer, and what may not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import sqlalchemy as sa

from headrace.control.applied_ids import schemas_of
from headrace.control.assigning import bind, refuse_moving, unbind, wanted_bindings
from headrace.control.customer_tree import with_descendants
from headrace.control.customer_view import CustomerView, find_customer, own_bindings
from headrace.control.engine import refusing_taken
from headrace.control.move_tables import left_behind, residence
from headrace.control.move_target import refuse_namesakes
from headrace.control.parents import put_below
from headrace.control.routing_change import changing_routing
from headrace.control.tables import customer
from headrace.domain.assignment import Asked
from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError


class Unchanged(Enum):
    """Said of what a change leaves as it is, where None says something."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED


_TAKEN: Final = "another customer has this provided_id: give another one"


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerChange:
    """What is to change of a customer.

    Attributes:
        parent: None: it has none any more.
        unbound: schemas in which it shall inherit.
    """

    name: str | None = None
    provided_id: str | None = None
    properties: Mapping[str, Any] | None = None
    parent: str | Unchanged | None = UNCHANGED
    asked: Asked = field(default_factory=Asked)
    unbound: tuple[str, ...] = ()


@contextmanager
def guarding(connection: sa.Connection, change: CustomerChange, customer_id: str) -> Iterator[None]:
    routes = change.parent is not UNCHANGED or change.asked != Asked() or change.unbound
    if not routes and change.provided_id is None:
        yield
        return
    with changing_routing(connection, whom=[customer_id]):
        yield


def write_change(connection: sa.Connection, group: str, customer_id: str, change: CustomerChange) -> None:
    # Again, now that nobody else changes routing.
    found = find_customer(connection, group, customer_id)
    refuse_config_owned(found)
    values: dict[str, Any] = {}
    if change.name is not None:
        values["name"] = change.name
    if change.properties is not None:
        values["properties"] = dict(change.properties)
    if change.provided_id is not None and change.provided_id != found.provided_id:
        _check_renaming(connection, found, change.provided_id)
        values["provided_id"] = change.provided_id
    if values:
        with refusing_taken(Refusal.CUSTOMER_EXISTS, _TAKEN):
            connection.execute(sa.update(customer).where(customer.c.id == customer_id).values(values))
    if change.parent is not UNCHANGED:
        put_below(connection, group, customer_id, change.parent)
    _rebind(connection, group, customer_id, change)


def _rebind(connection: sa.Connection, group: str, customer_id: str, change: CustomerChange) -> None:
    bindings = own_bindings(connection, customer_id)
    bound = {schema: DataSourceId(row.data_source_id) for schema, row in bindings.items()}
    wanted = wanted_bindings(connection, group, change.asked, customer_id=customer_id, bound=bound)
    if unknown := sorted(set(change.unbound).difference(schemas_of(connection))):
        raise RefusedError(Refusal.NOT_FOUND, f"there is no schema {', '.join(unknown)}")
    both = sorted(wanted.keys() & set(change.unbound))
    if both:
        raise RefusedError(
            Refusal.DATA_SOURCE_CONFLICT, f"{', '.join(both)}: bound and unbound at once: say one"
        )
    changed = {schema for schema, id_ in wanted.items() if bound.get(schema) != id_}
    refuse_moving(bindings, changed | set(change.unbound))
    bind(connection, customer_id, wanted)
    for schema in sorted(changed):
        refuse_namesakes(connection, wanted[schema], with_descendants(connection, [customer_id]))
    unbind(connection, customer_id, change.unbound)


def _check_renaming(connection: sa.Connection, found: sa.Row[Any], provided_id: str) -> None:
    if homes := homes_of(connection, found.id):
        raise RefusedError(
            Refusal.CUSTOMER_HAS_RECORDS,
            f"its records in {', '.join(homes)} carry its provided_id, which cannot change any more",
        )
    same = sa.select(customer.c.id).where(
        customer.c.visibility_group == found.visibility_group, customer.c.provided_id == provided_id
    )
    if connection.execute(same).first() is not None:
        raise RefusedError(Refusal.CUSTOMER_EXISTS, _TAKEN)


def homes_of(connection: sa.Connection, customer_id: str) -> list[str]:
    """Where it has records, those included that a switch has left behind."""
    tables = (residence, left_behind)
    of_it = (sa.select(t.c.data_source_id).where(t.c.customer_id == customer_id) for t in tables)
    return sorted(connection.execute(sa.union(*of_it)).scalars())


def refuse_config_owned(found: sa.Row[Any]) -> None:
    if found.origin == "config":
        raise RefusedError(
            Refusal.OWNED_BY_CONFIG,
            f"the customer is defined in customers/{found.config_id}.json: change it there, and apply",
        )


def changed_names(change: CustomerChange) -> list[str]:
    names = [name for name in ("name", "provided_id", "properties") if getattr(change, name) is not None]
    return names + ([] if change.parent is UNCHANGED else ["parent"])


def mapped(change: CustomerChange, view: CustomerView) -> dict[str, Any]:
    if change.asked == Asked() and not change.unbound:
        return {}
    return {"mapping": {schema: place.id for schema, place in view.mapping.items()}}
