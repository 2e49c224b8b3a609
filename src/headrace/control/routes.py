"""Where customers' rows go (the port `Routes`): own binding, nearest ancestor's, then the default.

A route that is found and cannot be used is refused, never replaced by the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from headrace.control.engine import insert_or, reading, writing
from headrace.control.feeds import new_uuid
from headrace.control.tables import (
    binding,
    customer,
    data_source,
    data_source_group,
    default_data_source,
    routing_version,
)
from headrace.control.types import now
from headrace.domain.routing import MAX_ANCESTORS, Via
from headrace.domain.vocabulary import DataSourceId
from headrace.ports import Routing

DEFAULT_CUSTOMER = "default"
"""The customer of rows that name none; made on first use."""

UNKNOWN_CUSTOMER = "unknown customer"

_CUSTOMERS_A_STATEMENT = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way of one customer in one schema. Exactly one of `data_source_id` and `refusal` is set.

    Attributes:
        via: own, parent or default; None when no step gave a data source.
    """

    customer: str
    data_source_id: DataSourceId | None
    refusal: str | None
    via: str | None


class SqlRoutes:
    """Routing by the control database. Safe to share between threads; callers cache by version."""

    def __init__(self, engine: sa.Engine, *, new_id: Callable[[], str] = new_uuid) -> None:
        self._engine = engine
        self._new_id = new_id

    def version(self) -> int:
        with reading(self._engine) as connection:
            return _version(connection)

    def resolve(
        self, *, schema: str, visibility_group: str, customers: Iterable[str], create_unknown: bool
    ) -> Routing:
        wanted = sorted(set(customers))
        found = self._routes(schema, visibility_group, wanted)
        unknown = [c for c in wanted if c not in found.routes]
        makeable = [c for c in unknown if create_unknown or c == DEFAULT_CUSTOMER]
        if makeable:
            self._make(visibility_group, makeable)
            found.routes.update(self._routes(schema, visibility_group, makeable).routes)
        refused = {name: UNKNOWN_CUSTOMER for name in unknown if name not in found.routes}
        for name, route in found.routes.items():
            if route.refusal is not None:
                refused[name] = route.refusal
        return Routing(
            # The first one read: what changed since is refused by the journal, and resolved again.
            version=found.version,
            data_sources={
                name: route.data_source_id
                for name, route in found.routes.items()
                if route.data_source_id is not None
            },
            refused=refused,
        )

    def _routes(self, schema: str, visibility_group: str, customers: Sequence[str]) -> _Found:
        with reading(self._engine) as connection:
            # Before the routes: PostgreSQL shows each statement what was committed until then.
            version = _version(connection)
            routes = routes_of(
                connection, schema=schema, visibility_group=visibility_group, customers=customers
            )
            return _Found(version, {route.customer: route for route in routes})

    def _make(self, visibility_group: str, names: Sequence[str]) -> None:
        """Insert customers that rows name; routing's version stays, for nobody had resolved them."""
        rows = [{"id": self._new_id(), "provided_id": name, "name": name} for name in names]
        with writing(self._engine) as connection:
            insert = insert_or(connection, customer).values(
                visibility_group=visibility_group, origin="row", properties={}, made_at=now()
            )
            connection.execute(insert.on_conflict_do_nothing(), rows)


@dataclass(frozen=True, slots=True)
class _Found:
    version: int
    routes: dict[str, Route]


def _version(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(routing_version.c.version)).scalar_one())


def routes_of(
    connection: sa.Connection,
    *,
    schema: str,
    visibility_group: str,
    customers: Sequence[str] | None,
) -> Iterator[Route]:
    """The routes of known customers of the group: those named, or all of them (None)."""
    refusals = _refusals(connection, schema=schema, visibility_group=visibility_group)
    default = connection.execute(
        sa.select(default_data_source.c.data_source_id).where(
            default_data_source.c.visibility_group == visibility_group,
            default_data_source.c.schema == schema,
        )
    ).scalar_one_or_none()
    query = _bindings_up_the_tree(schema).where(customer.c.visibility_group == visibility_group)
    for some in _slices(customers):
        named = query if some is None else query.where(customer.c.provided_id.in_(some))
        for row in connection.execute(named):
            yield _route(row, default, refusals)


def _slices(customers: Sequence[str] | None) -> Iterator[Sequence[str] | None]:
    if customers is None:
        yield None
        return
    for start in range(0, len(customers), _CUSTOMERS_A_STATEMENT):
        yield customers[start : start + _CUSTOMERS_A_STATEMENT]


def _bindings_up_the_tree(schema: str) -> sa.Select[Any]:
    """One row a customer: its own binding's data source and state, and each ancestor's."""
    joined: sa.FromClause = customer
    columns: list[sa.ColumnElement[Any]] = [customer.c.provided_id]
    person: sa.FromClause = customer
    for level in range(MAX_ANCESTORS + 1):
        if level:
            parent = customer.alias(f"ancestor_{level}")
            # A parent of another group is no parent: its data sources are not this group's.
            is_parent = sa.and_(
                parent.c.id == person.c.parent_id,
                parent.c.visibility_group == person.c.visibility_group,
            )
            joined, person = joined.outerjoin(parent, is_parent), parent
        own = binding.alias(f"binding_{level}")
        joined = joined.outerjoin(own, sa.and_(own.c.customer_id == person.c.id, own.c.schema == schema))
        columns += [own.c.data_source_id.label(f"at_{level}"), own.c.state.label(f"state_{level}")]
    return sa.select(*columns).select_from(joined)


def _route(row: sa.Row[Any], default: str | None, refusals: _Refusals) -> Route:
    customer_id: str = row.provided_id
    steps = tuple(row)[1:]
    for level in range(MAX_ANCESTORS + 1):
        at, state = steps[2 * level : 2 * level + 2]
        if at is not None:
            refusal = "its binding is frozen" if state == "frozen" else refusals.of(at)
            return _decided(customer_id, at, refusal, via="parent" if level else "own")
    if default is not None:
        return _decided(customer_id, default, refusals.of(default), via="default")
    return Route(customer=customer_id, data_source_id=None, refusal=refusals.no_default, via=None)


def _decided(customer_id: str, at: str, refusal: str | None, *, via: str) -> Route:
    usable = None if refusal else DataSourceId(at)
    return Route(customer=customer_id, data_source_id=usable, refusal=refusal, via=via)


@dataclass(frozen=True, slots=True)
class _Refusals:
    """Why data sources cannot be used in a schema and group."""

    by_data_source: dict[str, str | None]
    no_default: str

    def of(self, data_source_id: str) -> str | None:
        return self.by_data_source.get(data_source_id, f"data source {data_source_id} does not exist")


def _refusals(connection: sa.Connection, *, schema: str, visibility_group: str) -> _Refusals:
    in_group = sa.and_(
        data_source_group.c.data_source_id == data_source.c.id,
        data_source_group.c.visibility_group == visibility_group,
    )
    rows = connection.execute(
        sa.select(
            data_source.c.id,
            data_source.c.schema,
            data_source.c.state,
            data_source_group.c.visibility_group,
        ).outerjoin_from(data_source, data_source_group, in_group)
    )
    reasons: dict[str, str | None] = {}
    for id_, its_schema, state, its_group in rows:
        if state == "disabled":
            reasons[id_] = f"data source {id_} is disabled"
        elif its_schema != schema:
            reasons[id_] = f"data source {id_} belongs to schema {its_schema}, not {schema}"
        elif its_group is None:
            reasons[id_] = f"data source {id_} is not in visibility group {visibility_group}"
        else:
            reasons[id_] = None
    no_default = f"no data source for schema {schema}: not bound, and {visibility_group} has no default"
    return _Refusals(reasons, no_default)
