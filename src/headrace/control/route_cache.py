"""Routes of single customers, for who reads: remembered while routing is known not to have changed."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import sqlalchemy as sa

from headrace import logs
from headrace.control.being_dropped import being_dropped
from headrace.control.engine import reading
from headrace.control.move_tables import residence
from headrace.control.routes import table_of
from headrace.control.tables import (
    binding,
    customer,
    data_source,
    data_source_group,
    default_data_source,
    routing_version,
)
from headrace.domain import routing
from headrace.domain.refusal import Refusal
from headrace.domain.routing import Route, RoutingTable, State, Target, Tenant, Via
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import HeadraceError, RefusedError
from headrace.ports.records import ResolvedRoute

log = logs.get(__name__)

ASK_EVERY_S: Final = 0.1
TRUSTED_S: Final = 1.0
"""How long routes are given out after routing's version was last asked."""
MOST_ROUTES: Final = 100_000

_Key = tuple[str, str, str]

_VERSION = sa.select(routing_version.c.version)
_DEFAULT = data_source.alias("default_source")
_DEFAULT_GROUP = data_source_group.alias("default_group")

# One statement, each join by a primary key or by (visibility group, provided_id): all that the usual customer
# needs, who is bound or has the default, and has no parent.
_USUAL = (
    sa.select(
        routing_version.c.version,
        customer.c.id,
        customer.c.parent_id,
        binding.c.data_source_id,
        binding.c.epoch,
        data_source.c.schema,
        data_source.c.state,
        data_source.c.config_version,
        data_source_group.c.visibility_group,
        default_data_source.c.data_source_id,
        _DEFAULT.c.schema,
        _DEFAULT.c.state,
        _DEFAULT.c.config_version,
        _DEFAULT_GROUP.c.visibility_group,
        residence.c.data_source_id,
        residence.c.awaits_drop,
    )
    .select_from(routing_version)
    .outerjoin(
        customer,
        sa.and_(
            customer.c.visibility_group == sa.bindparam("group"),
            customer.c.provided_id == sa.bindparam("customer"),
        ),
    )
    .outerjoin(
        binding, sa.and_(binding.c.customer_id == customer.c.id, binding.c.schema == sa.bindparam("schema"))
    )
    .outerjoin(
        residence,
        sa.and_(residence.c.customer_id == customer.c.id, residence.c.schema == sa.bindparam("schema")),
    )
    .outerjoin(data_source, data_source.c.id == binding.c.data_source_id)
    .outerjoin(
        data_source_group,
        sa.and_(
            data_source_group.c.data_source_id == data_source.c.id,
            data_source_group.c.visibility_group == sa.bindparam("group"),
        ),
    )
    .outerjoin(
        default_data_source,
        sa.and_(
            binding.c.customer_id.is_(None),
            default_data_source.c.visibility_group == sa.bindparam("group"),
            default_data_source.c.schema == sa.bindparam("schema"),
        ),
    )
    .outerjoin(_DEFAULT, _DEFAULT.c.id == default_data_source.c.data_source_id)
    .outerjoin(
        _DEFAULT_GROUP,
        sa.and_(
            _DEFAULT_GROUP.c.data_source_id == _DEFAULT.c.id,
            _DEFAULT_GROUP.c.visibility_group == sa.bindparam("group"),
        ),
    )
)
_CONFIG_VERSION = sa.select(data_source.c.config_version).where(data_source.c.id == sa.bindparam("id"))


class RouteCache:
    """Implements `ports.records.CustomerRoutes`. Safe between threads.

    Nothing is remembered unless `watch` runs: it asks routing's version every `ASK_EVERY_S`, and drops all
    when it is another one. When it could not ask for `TRUSTED_S`, each route is resolved afresh.

    The route of a customer without records is not remembered: its first row changes no version, and until
    it is seen the customer finds nothing.

    Invariant: a route that was resolved before a version was seen, or before `invalidate`, is not given out
    after it, also when the resolving ends later (tests/conformance/control/test_route_cache.py).
    """

    def __init__(self, engine: sa.Engine, *, most: int = MOST_ROUTES) -> None:
        self._engine = engine
        # Two halves instead of an order that each hit would have to write: the older one is dropped when the
        # younger one is full, and what was used meanwhile has moved over.
        self._half = max(1, most // 2)
        self._young: dict[_Key, ResolvedRoute] = {}
        self._old: dict[_Key, ResolvedRoute] = {}
        self._trusted_until = 0.0
        self._version = -1
        self._generation = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        compiled: Any = _USUAL.compile(dialect=engine.dialect)
        self._usual = str(compiled)
        self._places: list[str] | None = compiled.positiontup

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def resolve(self, visibility_group: str, customer: str, schema: str) -> ResolvedRoute:
        """The customer's route (`provided_id`), as routing was at most `TRUSTED_S` ago.

        Raises:
            RefusedError: see `ports.records.CustomerRoutes`.
            ControlUnavailableError: it is not known, and cannot be asked.
        """
        found = self._young.get((visibility_group, customer, schema))
        if found is not None and time.monotonic() < self._trusted_until:
            return found
        return self._resolve_cold(visibility_group, customer, schema)

    def invalidate(self) -> None:
        """Whoever changed routing calls it after the commit: this process then sees the change at once."""
        with self._lock:
            self._forget()

    def watch(self) -> None:
        """From now on routes are remembered. The thread ends with `close`, or with the process."""
        if self._thread is None:
            self.look()
            self._thread = threading.Thread(target=self._keep_looking, name="routing version", daemon=True)
            self._thread.start()

    def look(self) -> None:
        """Routing's version was asked now; routes of another one are forgotten."""
        asked_at = time.monotonic()
        try:
            with reading(self._engine) as connection:
                version = int(connection.execute(_VERSION).scalar_one())
        except HeadraceError as error:
            log.warning("routing's version could not be asked", error=str(error))
            return
        with self._lock:
            if version != self._version:
                self._forget()
                self._version = version
            self._trusted_until = asked_at + TRUSTED_S

    def close(self) -> None:
        """Nothing is remembered, and nobody asks any more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._lock:
            self._forget()
            self._trusted_until = 0.0

    def _keep_looking(self) -> None:
        while not self._stop.wait(ASK_EVERY_S):
            self.look()

    def _forget(self) -> None:
        self._generation += 1
        self._young, self._old = {}, {}

    def _resolve_cold(self, group: str, customer: str, schema: str) -> ResolvedRoute:
        key = (group, customer, schema)
        trusted = time.monotonic() < self._trusted_until
        found = self._old.get(key) if trusted else None
        generation = self._generation
        if found is None:
            found = self._asked(group, customer, schema)
        with self._lock:
            current = generation == self._generation and found.version == self._version
            if trusted and current and found.resident:
                self._keep(key, found)
        return found

    def _keep(self, key: _Key, route: ResolvedRoute) -> None:
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = route
        self._old.pop(key, None)

    def _asked(self, group: str, customer: str, schema: str) -> ResolvedRoute:
        named = {"group": group, "customer": customer, "schema": schema}
        values = named if self._places is None else tuple(named[place] for place in self._places)
        with reading(self._engine) as connection:
            # As a text, since SQLAlchemy's own way to this statement takes longer than the database's answer.
            row = connection.exec_driver_sql(self._usual, values).one()
            if row[1] is None:
                raise RefusedError(Refusal.NOT_FOUND, f"there is no customer {customer}")
            if row[3] is None and row[2] is not None:
                return _inherited(connection, row, group, customer, schema)
            home = _home(connection, row, customer)
        route = routing.resolve(customer, schema, _usual_table(row, group, customer, schema))
        bound = row[3] is not None
        return _told(
            route,
            version=row[0],
            customer_id=row[1],
            config_version=row[7] if bound else row[12],
            home=home,
        )


def _home(connection: sa.Connection, row: Any, customer: str) -> str | None:
    """Where the customer's records are; None too while those of another one of its name are there yet."""
    home: str | None = row[14]
    if row[15] and home is not None and customer in being_dropped(connection, home):
        return None
    return home


def _usual_table(row: Any, group: str, customer: str, schema: str) -> RoutingTable:
    """What routing looks at for a customer who is bound itself, or has no parent."""
    _, id_, _, bound, epoch, *_ = row
    tenant = Tenant(
        visibility_group=group,
        bindings={} if bound is None else {schema: DataSourceId(bound)},
        epochs={} if bound is None else {schema: epoch},
        id=id_,
    )
    default = row[9]
    named, facts = (bound, row[5:9]) if bound is not None else (default, row[10:14])
    targets = {} if named is None else {DataSourceId(named): _target(facts)}
    return RoutingTable(
        customers={customer: tenant},
        data_sources=targets,
        defaults={} if default is None else {(group, schema): DataSourceId(default)},
    )


def _target(facts: Any) -> Target:
    schema, state, _, group = facts
    return Target(
        schema=schema,
        visibility_groups=frozenset(() if group is None else (group,)),
        state=State(state),
    )


def _inherited(connection: sa.Connection, row: Any, group: str, customer: str, schema: str) -> ResolvedRoute:
    """By a statement for each level of parents. The version was read before them: what changes meanwhile
    makes it another one."""
    table = table_of(connection, schema, group, [customer])
    route = routing.resolve(customer, schema, table)
    config_version = 0
    if route.data_source is not None:
        config_version = connection.execute(_CONFIG_VERSION, {"id": route.data_source}).scalar_one()
    return _told(
        route,
        version=row[0],
        customer_id=row[1],
        config_version=config_version,
        home=_home(connection, row, customer),
    )


def _told(
    route: Route, *, version: int, customer_id: str, config_version: int, home: str | None
) -> ResolvedRoute:
    """The answer, or the refusal that it is: which never names a data source to who may not see it."""
    if route.data_source is not None and route.via is not None:
        return ResolvedRoute(
            data_source=route.data_source,
            via=Via(route.via),
            epoch=route.epoch,
            version=version,
            config_version=config_version,
            customer_id=customer_id,
            resident=home == route.data_source,
        )
    if route.via is None:
        raise RefusedError(
            Refusal.NO_DATA_SOURCE,
            "the customer has no data source of this schema: bind it to one, or set a default",
        )
    raise RefusedError(
        Refusal.DATA_SOURCE_UNAVAILABLE,
        "the customer's data source does not serve now: `headrace route explain` says why",
    )
