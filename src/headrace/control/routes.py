"""Where customers' rows go (the port `Routes`): `domain.routing`, over what the tables hold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import Any, TypeVar

import sqlalchemy as sa

from headrace.control.engine import insert_in, reading, writing
from headrace.control.move_tables import residence
from headrace.control.namesakes import namesakes
from headrace.control.new_id import new_uuid
from headrace.control.slices import slices
from headrace.control.tables import (
    binding,
    customer,
    data_source,
    data_source_group,
    default_data_source,
    routing_version,
)
from headrace.control.types import now
from headrace.domain import routing
from headrace.domain.routing import Route, RoutingTable, State, Target, Tenant, Via
from headrace.domain.vocabulary import DataSourceId
from headrace.ports import Newcomer, Routing

T = TypeVar("T")

DEFAULT_CUSTOMER = "default"
"""The customer of rows that name none; made on first use."""

UNKNOWN_CUSTOMER = "unknown customer"

_NAMESAKE = "data source {} serves a customer of this provided_id of another visibility group already"

# Built once, as in `append`.

_VERSION = sa.select(routing_version.c.version)
_DEFAULTS = sa.select(default_data_source)
_TARGETS = sa.select(
    data_source.c.id, data_source.c.schema, data_source.c.state, data_source_group.c.visibility_group
).outerjoin_from(data_source, data_source_group, data_source_group.c.data_source_id == data_source.c.id)

_PARENT = customer.alias("parent")
_TENANTS = (
    sa.select(
        customer.c.id,
        customer.c.provided_id,
        _PARENT.c.provided_id.label("above"),
        binding.c.data_source_id,
        binding.c.moving_to,
        binding.c.epoch,
        residence.c.data_source_id.label("home"),
    )
    .select_from(
        customer.outerjoin(
            _PARENT,
            # A parent of another group is none: its data sources are not this group's.
            sa.and_(
                _PARENT.c.id == customer.c.parent_id, _PARENT.c.visibility_group == sa.bindparam("group")
            ),
        )
        .outerjoin(
            binding,
            sa.and_(binding.c.customer_id == customer.c.id, binding.c.schema == sa.bindparam("schema")),
        )
        .outerjoin(
            residence,
            sa.and_(residence.c.customer_id == customer.c.id, residence.c.schema == sa.bindparam("schema")),
        )
    )
    .where(customer.c.visibility_group == sa.bindparam("group"))
)
_SOME_TENANTS = _TENANTS.where(customer.c.provided_id.in_(sa.bindparam("names", expanding=True)))


@cache
def _make(dialect: str) -> sa.Executable:
    insert = insert_in(dialect, customer).values(origin="row", properties={}, made_at=now())
    return insert.on_conflict_do_nothing()


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
        with reading(self._engine) as connection:
            # Before the routes: PostgreSQL shows each statement what was committed until then, so what
            # changes meanwhile is refused by the journal, and resolved again.
            version = _version(connection)
            table = table_of(connection, schema, visibility_group, wanted)
        unknown = [name for name in wanted if name not in table.customers]
        makeable = [name for name in unknown if create_unknown or name == DEFAULT_CUSTOMER]
        if makeable:
            with writing(self._engine) as connection:
                self._make(connection, visibility_group, makeable)
                made = table_of(connection, schema, visibility_group, makeable)
            table = replace(table, customers={**table.customers, **made.customers})
        routing = _routing(version, schema, wanted, table)
        return self._without_namesakes(routing) if routing.newcomers else routing

    def _without_namesakes(self, routing: Routing) -> Routing:
        """Newcomers are refused where another group's customer of the same `provided_id` is: records are told
        apart by it."""
        by_target: dict[DataSourceId, list[str]] = {}
        for name, new in routing.newcomers.items():
            for target in {new.data_source_id, routing.moving.get(name, new.data_source_id)}:
                by_target.setdefault(target, []).append(name)
        refused: dict[str, str] = {}
        with reading(self._engine) as connection:
            for target, names in by_target.items():
                taken = namesakes(connection, target, names)
                refused |= {
                    name: _NAMESAKE.format(target)
                    for name in names
                    if name in taken and taken[name] != routing.newcomers[name].customer_id
                }
        if not refused:
            return routing
        return replace(
            routing,
            data_sources=_without(routing.data_sources, refused),
            moving=_without(routing.moving, refused),
            newcomers=_without(routing.newcomers, refused),
            refused={**routing.refused, **refused},
        )

    def _make(self, connection: sa.Connection, visibility_group: str, names: Sequence[str]) -> None:
        """Insert customers that rows name; routing's version stays, for nobody had resolved them."""
        rows = [
            {"id": self._new_id(), "provided_id": name, "name": name, "visibility_group": visibility_group}
            for name in names
        ]
        connection.execute(_make(connection.dialect.name), rows)


def _version(connection: sa.Connection) -> int:
    return int(connection.execute(_VERSION).scalar_one())


def _without(by_name: Mapping[str, T], names: Collection[str]) -> dict[str, T]:
    return {name: value for name, value in by_name.items() if name not in names}


def _routing(version: int, schema: str, customers: Sequence[str], table: RoutingTable) -> Routing:
    known = [name for name in customers if name in table.customers]
    refused = dict.fromkeys(customers, UNKNOWN_CUSTOMER)
    data_sources: dict[str, DataSourceId] = {}
    moving: dict[str, DataSourceId] = {}
    newcomers: dict[str, Newcomer] = {}
    for name in known:
        route = routing.resolve(name, schema, table)
        if route.data_source is None:
            refused[name] = route.refusal
            continue
        del refused[name]
        data_sources[name] = route.data_source
        if route.moving_to is not None:
            moving[name] = route.moving_to
        tenant = table.customers[name]
        if schema not in tenant.homes:
            newcomers[name] = Newcomer(
                customer_id=tenant.id,
                schema=schema,
                data_source_id=route.data_source,
                pinned=route.via is Via.DEFAULT,
            )
    return Routing(
        version=version, data_sources=data_sources, refused=refused, moving=moving, newcomers=newcomers
    )


def routes_of(
    connection: sa.Connection,
    schema: str,
    visibility_group: str,
    customers: Sequence[str] | None = None,
) -> dict[str, Route]:
    """The routes of the known ones of these customers (`provided_id`), or of all of the group's."""
    table = table_of(connection, schema, visibility_group, customers)
    named = table.customers.keys() if customers is None else table.customers.keys() & set(customers)
    return {name: routing.resolve(name, schema, table) for name in named}


def table_of(
    connection: sa.Connection,
    schema: str,
    visibility_group: str,
    customers: Sequence[str] | None = None,
) -> RoutingTable:
    """All that resolving these customers of the group (`provided_id`; None: all) looks at.

    As many statements as there are levels of parents, for thousands of customers.
    """
    return RoutingTable(
        customers=_tenants(connection, schema, visibility_group, customers),
        data_sources=_targets(connection),
        defaults={
            (row.visibility_group, row.schema): DataSourceId(row.data_source_id)
            for row in connection.execute(_DEFAULTS)
        },
    )


def _targets(connection: sa.Connection) -> dict[DataSourceId, Target]:
    rows = connection.execute(_TARGETS).all()
    groups: dict[str, set[str]] = {}
    for row in rows:
        if row.visibility_group is not None:
            groups.setdefault(row.id, set()).add(row.visibility_group)
    return {
        DataSourceId(row.id): Target(
            schema=row.schema,
            visibility_groups=frozenset(groups.get(row.id, ())),
            state=State(row.state),
        )
        for row in rows
    }


def _tenants(
    connection: sa.Connection, schema: str, group: str, customers: Sequence[str] | None
) -> dict[str, Tenant]:
    """The customers and their ancestors within the group, by `provided_id`."""
    tenants: dict[str, Tenant] = {}
    wanted: Sequence[str] | None = customers
    for _ in range(1 + routing.MAX_ANCESTORS):
        tenants |= dict(_read_tenants(connection, schema, group, wanted))
        wanted = sorted({t.parent for t in tenants.values() if t.parent} - tenants.keys())
        if not wanted:
            break
    return tenants


def _read_tenants(
    connection: sa.Connection, schema: str, group: str, names: Sequence[str] | None
) -> Iterator[tuple[str, Tenant]]:
    where = {"group": group, "schema": schema}
    if names is None:
        rows: Iterable[Any] = connection.execute(_TENANTS, where)
    else:
        some = (connection.execute(_SOME_TENANTS, {**where, "names": part}) for part in slices(names))
        rows = chain.from_iterable(some)
    for row in rows:
        yield row.provided_id, _tenant(row, schema, group)


def _tenant(row: Any, schema: str, group: str) -> Tenant:
    def by_schema(value: T | None) -> dict[str, T]:
        return {} if value is None else {schema: value}

    return Tenant(
        visibility_group=group,
        parent=row.above,
        bindings=by_schema(row.data_source_id),
        moving=by_schema(row.moving_to),
        epochs=by_schema(row.epoch),
        homes=by_schema(row.home),
        id=row.id,
    )
