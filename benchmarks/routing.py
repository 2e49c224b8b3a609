"""What resolving a customer's route costs: warm beside a dictionary's lookup, cold beside a SELECT by key."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.database import database
from benchmarks.measured import Measured
from benchmarks.outcome import Outcome, Result
from headrace.control.engine import control_engine, reading, writing
from headrace.control.move_tables import residence
from headrace.control.route_cache import RouteCache
from headrace.control.schema import upgrade
from headrace.control.tables import binding, customer, data_source, data_source_group

CUSTOMERS = 100_000
DATA_SOURCES = 1_000
WARM_LOOKUPS = 200_000
"""Of customers in any order: so that as little of either is in the processor's caches as in a server."""
COLD_LOOKUPS = 2_000
_GROUP, _SCHEMA = "production", "shop"

_BY_KEY = sa.select(binding.c.data_source_id).where(
    binding.c.customer_id == sa.bindparam("customer"), binding.c.schema == sa.bindparam("schema")
)


def warm_route(
    peers: Sequence[Any],  # noqa: ARG001
    *,
    rows: int,  # noqa: ARG001
    rounds: int,
    announce: Callable[[str], None],
) -> Outcome:
    """`RouteCache.resolve` of 100,000 customers who were resolved before, and `dict[key]` of as many."""
    results = []
    with _control("sqlite") as engine:
        cache = RouteCache(engine, most=2 * CUSTOMERS)
        names = _in_any_order(CUSTOMERS)
        plain = {}
        cache.watch()
        for name in names:
            plain[_GROUP, name, _SCHEMA] = cache.resolve(_GROUP, name, _SCHEMA)
        asked = names * (WARM_LOOKUPS // len(names))
        keys = [(_GROUP, name, _SCHEMA) for name in asked]
        for number in range(1, rounds + 1):
            for peer, run in (
                ("dictionary", lambda: _look_up(plain, keys)),
                ("route, warm", lambda: _resolve(cache, asked)),
            ):
                results.append(Result(peer, number, _measured(run), equal=len(cache) == CUSTOMERS))
                _tell(announce, "route-warm", results[-1], WARM_LOOKUPS)
        cache.close()
    return Outcome("route-warm", WARM_LOOKUPS, tuple(results))


def cold_route_sqlite(
    peers: Sequence[Any],  # noqa: ARG001
    *,
    rows: int,  # noqa: ARG001
    rounds: int,
    announce: Callable[[str], None],
) -> Outcome:
    """`RouteCache.resolve` of customers who were not, and a SELECT of their binding by its key, both in a
    transaction of the same engine."""
    return _cold_route("sqlite", rounds, announce)


def cold_route_postgres(
    peers: Sequence[Any],  # noqa: ARG001
    *,
    rows: int,  # noqa: ARG001
    rounds: int,
    announce: Callable[[str], None],
) -> Outcome:
    """The same over PostgreSQL."""
    return _cold_route("postgres", rounds, announce)


def _cold_route(kind: str, rounds: int, announce: Callable[[str], None]) -> Outcome:
    work, results = f"route-cold-{kind}", []
    with _control(kind) as engine:
        names = _in_any_order(CUSTOMERS)[:COLD_LOOKUPS]
        cache = RouteCache(engine)  # that nobody watches, so that it remembers nothing
        for number in range(1, rounds + 1):
            for peer, run in (
                ("SELECT by key", lambda: _select(engine, names)),
                ("route, cold", lambda: _resolve(cache, names)),
            ):
                results.append(Result(peer, number, _measured(run), equal=True))
                _tell(announce, work, results[-1], COLD_LOOKUPS)
    return Outcome(work, COLD_LOOKUPS, tuple(results))


def _look_up(plain: dict[Any, Any], keys: list[Any]) -> None:
    for key in keys:
        plain[key]


def _resolve(cache: RouteCache, names: list[str]) -> None:
    for name in names:
        cache.resolve(_GROUP, name, _SCHEMA)


def _select(engine: sa.Engine, names: list[str]) -> None:
    for name in names:
        with reading(engine) as connection:
            connection.execute(_BY_KEY, {"customer": f"id-{name}", "schema": _SCHEMA}).one()


def _measured(run: Callable[[], None]) -> Measured:
    began, cpu = time.perf_counter(), time.process_time()
    run()
    return Measured(time.perf_counter() - began, time.process_time() - cpu, 0.0)


def _tell(announce: Callable[[str], None], work: str, result: Result, lookups: int) -> None:
    each_us = result.measured.wall_s / lookups * 1e6
    announce(f"{work} round {result.round}: {result.peer:28} {each_us:9.2f} microseconds each")


def _in_any_order(count: int) -> list[str]:
    names = [f"customer-{n}" for n in range(count)]
    random.Random(1).shuffle(names)
    return names


@contextmanager
def _control(kind: str) -> Iterator[sa.Engine]:
    """A control database with 100,000 customers, each bound to one of 1,000 data sources."""
    with tempfile.TemporaryDirectory() as directory, database("control") as url:
        engine = control_engine(f"sqlite:///{Path(directory) / 'control.db'}" if kind == "sqlite" else url)
        upgrade(engine)
        with writing(engine) as connection:
            _fill(connection)
        yield engine
        engine.dispose()


def _fill(connection: sa.Connection) -> None:
    sources = [f"source_{n}" for n in range(DATA_SOURCES)]
    common = {"schema": _SCHEMA, "isolation": "shared", "origin": "api", "body": {}, "nickname": "One"}
    connection.execute(
        sa.insert(data_source), [{"id": name, "provided_id": name, **common} for name in sources]
    )
    connection.execute(
        sa.insert(data_source_group),
        [{"data_source_id": name, "visibility_group": _GROUP} for name in sources],
    )
    made = {"visibility_group": _GROUP, "name": "C", "properties": {}, "origin": "api"}
    made["made_at"] = datetime.now(UTC)
    names = [f"customer-{n}" for n in range(CUSTOMERS)]
    connection.execute(sa.insert(customer), [{"id": f"id-{n}", "provided_id": n, **made} for n in names])
    connection.execute(
        sa.insert(binding),
        [
            {
                "customer_id": f"id-{name}",
                "schema": _SCHEMA,
                "data_source_id": sources[place % DATA_SOURCES],
                "origin": "explicit",
            }
            for place, name in enumerate(names)
        ],
    )
    connection.execute(
        sa.insert(residence),
        [
            {
                "customer_id": f"id-{name}",
                "schema": _SCHEMA,
                "data_source_id": sources[place % DATA_SOURCES],
                "provided_id": name,
            }
            for place, name in enumerate(names)
        ],
    )
