"""What resolving a customer's route costs: warm beside a dictionary's lookup, cold beside a SELECT by key."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from benchmarks.database import database
from benchmarks.outcome import Result
from benchmarks.work import Task
from headrace.control.engine import control_engine, reading, writing
from headrace.control.move_tables import residence
from headrace.control.route_cache import RouteCache
from headrace.control.schema import upgrade
from headrace.control.tables import binding, customer, data_source, data_source_group

DATA_SOURCES = 1_000
COLD_LOOKUPS = 2_000
_GROUP, _SCHEMA = "production", "shop"

_BY_KEY = sa.select(binding.c.data_source_id).where(
    binding.c.customer_id == sa.bindparam("customer"), binding.c.schema == sa.bindparam("schema")
)


def warm_route(task: Task) -> Iterator[Result]:
    """`RouteCache.resolve` of customers who were resolved before, and `dict[key]` of as many."""
    customers = task.extent.count
    with _control("sqlite", task) as engine:
        cache = RouteCache(engine, most=2 * customers)
        names = _in_any_order(customers)
        plain = {}
        cache.watch()
        for name in names:
            plain[_GROUP, name, _SCHEMA] = cache.resolve(_GROUP, name, _SCHEMA)
        asked = names * 2
        keys = [(_GROUP, name, _SCHEMA) for name in asked]
        for number in task.rounds:
            for peer, run in (
                ("dictionary", lambda: _look_up(plain, keys)),
                ("headrace", lambda: _resolve(cache, asked)),
            ):
                yield _result(peer, number, _measured(run, len(asked)), equal=len(cache) == customers)
        cache.close()


def cold_route_sqlite(task: Task) -> Iterator[Result]:
    """`RouteCache.resolve` of customers who were not, and a SELECT of their binding by its key, both in a
    transaction of the same engine."""
    return _cold_route("sqlite", task)


def cold_route_postgres(task: Task) -> Iterator[Result]:
    """The same over PostgreSQL."""
    return _cold_route("postgres", task)


def _cold_route(kind: str, task: Task) -> Iterator[Result]:
    with _control(kind, task) as engine:
        names = _in_any_order(task.extent.count)[:COLD_LOOKUPS]
        cache = RouteCache(engine)  # that nobody watches, so that it remembers nothing
        for number in task.rounds:
            for peer, run in (
                ("SELECT by key", lambda: _select(engine, names)),
                ("headrace", lambda: _resolve(cache, names)),
            ):
                yield _result(peer, number, _measured(run, len(names)), equal=True)


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


def _measured(run: Callable[[], None], lookups: int) -> dict[str, float]:
    began = time.perf_counter()
    run()
    return {"each_us": (time.perf_counter() - began) / lookups * 1e6}


def _result(peer: str, number: int, figures: dict[str, float], *, equal: bool) -> Result:
    return Result(peer=peer, round=number, figures=figures, equal=equal)


def _in_any_order(count: int) -> list[str]:
    """So that as little of them is in the processor's caches as in a server."""
    names = [f"customer-{n}" for n in range(count)]
    random.Random(1).shuffle(names)
    return names


@contextmanager
def _control(kind: str, task: Task) -> Iterator[sa.Engine]:
    """A control database with many customers, each bound to one of 1,000 data sources."""
    task.announce(f"making {task.extent.count:,} customers")
    with database("control") as url:
        engine = control_engine(f"sqlite:///{task.directory / 'control.db'}" if kind == "sqlite" else url)
        upgrade(engine)
        with writing(engine) as connection:
            _fill(connection, task.extent.count)
        yield engine
        engine.dispose()


def _fill(connection: sa.Connection, customers: int) -> None:
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
    names = [f"customer-{n}" for n in range(customers)]
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
