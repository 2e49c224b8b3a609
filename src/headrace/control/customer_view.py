"""Customers as they are told: with the data sources that they have, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from headrace.control.applied_ids import schemas_of
from headrace.control.routes import routes_of
from headrace.control.slices import slices
from headrace.control.tables import binding, customer, data_source
from headrace.domain.refusal import Refusal
from headrace.domain.routing import Via
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError

BY_PROVIDED_ID: Final = "provided:"
"""Begins a customer's name that is its `provided_id`; any other name is an id."""

_PARENT = customer.alias("above")
CUSTOMERS = sa.select(customer, _PARENT.c.provided_id.label("parent_provided_id")).outerjoin(
    _PARENT, _PARENT.c.id == customer.c.parent_id
)


@dataclass(frozen=True, slots=True)
class Place:
    """A data source, by both of its ids."""

    id: DataSourceId
    provided_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerView:
    """A customer.

    Attributes:
        parent_id, parent_provided_id: of the customer above it, or None.
        origin: `config`, `api`, or `row`: who made it.
        mapping: its own data source by schema.
        pinned: the schemas in which that was the default when its first record came.
        computed_mapping: of every schema, its own or inherited data source; None where it has none that
            serves.
        via: of every schema, which step answered; None where none did.
    """

    id: str
    provided_id: str
    visibility_group: str
    name: str
    parent_id: str | None
    parent_provided_id: str | None
    properties: Mapping[str, Any]
    token_version: int
    origin: str
    made_at: datetime
    mapping: Mapping[str, Place]
    pinned: tuple[str, ...]
    computed_mapping: Mapping[str, Place | None]
    via: Mapping[str, Via | None]


def find_customer(connection: sa.Connection, group: str, name: str) -> sa.Row[Any]:
    """The row of a customer of the group, by its id or `provided:<provided_id>`.

    Raises:
        RefusedError: `not_found`: unknown, or of another group.
    """
    if name.startswith(BY_PROVIDED_ID):
        named = customer.c.provided_id == name.removeprefix(BY_PROVIDED_ID)
    else:
        named = customer.c.id == name
    row = connection.execute(CUSTOMERS.where(customer.c.visibility_group == group, named)).one_or_none()
    if row is None:
        hint = "" if name.startswith(BY_PROVIDED_ID) else " id (a provided id is asked for as provided:ID)"
        raise RefusedError(Refusal.NOT_FOUND, f"there is no such customer{hint}")
    return row


def customer_views(connection: sa.Connection, group: str, rows: Sequence[sa.Row[Any]]) -> list[CustomerView]:
    """These customers of one group, in their order; as many statements for one as for a thousand."""
    places = _places(connection)
    own: dict[str, dict[str, sa.Row[Any]]] = {}
    for found in _bindings(connection, [row.id for row in rows]):
        own.setdefault(found.customer_id, {})[found.schema] = found
    names = [row.provided_id for row in rows]
    schemas = schemas_of(connection)
    routes = {schema: routes_of(connection, schema, group, names) for schema in schemas}
    return [
        CustomerView(
            id=row.id,
            provided_id=row.provided_id,
            visibility_group=row.visibility_group,
            name=row.name,
            parent_id=row.parent_id,
            parent_provided_id=row.parent_provided_id,
            properties=row.properties,
            token_version=row.token_version,
            origin=row.origin,
            made_at=row.made_at,
            mapping={s: places[b.data_source_id] for s, b in sorted(own.get(row.id, {}).items())},
            pinned=tuple(s for s, b in sorted(own.get(row.id, {}).items()) if b.origin == "pinned_default"),
            computed_mapping={
                schema: places.get(routes[schema][row.provided_id].data_source or "") for schema in schemas
            },
            via={schema: routes[schema][row.provided_id].via for schema in schemas},
        )
        for row in rows
    ]


def own_bindings(connection: sa.Connection, customer_id: str) -> dict[str, sa.Row[Any]]:
    """The customer's bindings by schema."""
    return {row.schema: row for row in _bindings(connection, [customer_id])}


def _bindings(connection: sa.Connection, ids: Collection[str]) -> list[sa.Row[Any]]:
    rows: list[sa.Row[Any]] = []
    for some in slices(sorted(ids)):
        rows += connection.execute(sa.select(binding).where(binding.c.customer_id.in_(some or ()))).all()
    return rows


def _places(connection: sa.Connection) -> dict[str, Place]:
    ids = sa.select(data_source.c.id, data_source.c.provided_id)
    return {row.id: Place(DataSourceId(row.id), row.provided_id) for row in connection.execute(ids)}
