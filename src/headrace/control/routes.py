"""Where customers' rows go (the port `Routes`): `domain.routing`, over what the tables hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache

import sqlalchemy as sa

from headrace.control.engine import insert_in, reading, writing
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
from headrace.domain import routing
from headrace.domain.routing import Route, RoutingTable, State, Target, Tenant
from headrace.domain.vocabulary import DataSourceId
from headrace.ports import Routing

DEFAULT_CUSTOMER = "default"
"""The customer of rows that name none; made on first use."""

UNKNOWN_CUSTOMER = "unknown customer"

_CUSTOMERS_A_STATEMENT = 5_000

# Built once, as in `append`.

_VERSION = sa.select(routing_version.c.version)
_DEFAULTS = sa.select(default_data_source)
_TARGETS = sa.select(
    data_source.c.id, data_source.c.schema, data_source.c.state, data_source_group.c.visibility_group
).outerjoin_from(data_source, data_source_group, data_source_group.c.data_source_id == data_source.c.id)

_PARENT = customer.alias("parent")
_TENANTS = (
    sa.select(customer.c.provided_id, _PARENT.c.provided_id.label("above"), binding.c.data_source_id)
    .select_from(
        customer.outerjoin(
            _PARENT,
            # A parent of another group is none: its data sources are not this group's.
            sa.and_(
                _PARENT.c.id == customer.c.parent_id, _PARENT.c.visibility_group == sa.bindparam("group")
            ),
        ).outerjoin(
            binding,
            sa.and_(binding.c.customer_id == customer.c.id, binding.c.schema == sa.bindparam("schema")),
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
            routes = routes_of(connection, schema, visibility_group, wanted)
        unknown = [name for name in wanted if name not in routes]
        makeable = [name for name in unknown if create_unknown or name == DEFAULT_CUSTOMER]
        if makeable:
            with writing(self._engine) as connection:
                self._make(connection, visibility_group, makeable)
                routes |= routes_of(connection, schema, visibility_group, makeable)
        refused = dict.fromkeys(unknown, UNKNOWN_CUSTOMER)
        refused |= {name: route.refusal for name, route in routes.items()}
        found = {name: r.data_source for name, r in routes.items() if r.data_source is not None}
        return Routing(
            version=version,
            data_sources=found,
            refused={name: why for name, why in refused.items() if name not in found},
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


def routes_of(
    connection: sa.Connection,
    schema: str,
    visibility_group: str,
    customers: Sequence[str] | None = None,
) -> dict[str, Route]:
    """The routes of the known ones of these customers (`provided_id`), or of all of the group's.

    As many statements as there are levels of parents, for thousands of customers.
    """
    tenants = _tenants(connection, schema, visibility_group, customers)
    table = RoutingTable(
        customers=tenants,
        data_sources=_targets(connection),
        defaults={
            (row.visibility_group, row.schema): DataSourceId(row.data_source_id)
            for row in connection.execute(_DEFAULTS)
        },
    )
    named = tenants.keys() if customers is None else tenants.keys() & set(customers)
    return {name: routing.resolve(name, schema, table) for name in named}


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
    for some in _slices(names):
        if some is None:
            rows = connection.execute(_TENANTS, where)
        else:
            rows = connection.execute(_SOME_TENANTS, {**where, "names": some})
        for name, above, bound in rows:
            bindings: Mapping[str, DataSourceId] = {} if bound is None else {schema: DataSourceId(bound)}
            yield name, Tenant(visibility_group=group, parent=above, bindings=bindings)


def _slices(names: Sequence[str] | None) -> Iterator[Sequence[str] | None]:
    if names is None:
        yield None
        return
    for start in range(0, len(names), _CUSTOMERS_A_STATEMENT):
        yield names[start : start + _CUSTOMERS_A_STATEMENT]
