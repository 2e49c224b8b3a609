"""Many data sources and many customers: `python -m benchmarks.many` says what it costs to have them.

Data sources are files of SQLite, or namespaces of one PostgreSQL database. Each customer is bound to one, or
inherits from another customer, or has the default.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sqlite3
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.database import database
from headrace import wiring
from headrace.cli.main import main as command
from headrace.control.engine import writing
from headrace.control.move_tables import residence
from headrace.control.tables import binding, customer, routing_version
from headrace.control.types import now
from headrace.domain.record_query import RecordQuery
from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.settings import Settings
from headrace.steps.records import Reading

GROUP, SCHEMA = "production", "shop"
MOST_OPEN = 50
_A_STATEMENT = 5_000


@dataclass(slots=True)
class Many:
    """What was measured.

    Attributes:
        took_s: by what was done.
        open_pools: the most that were open at once.
        peak_rss_mib: of this process, from its beginning.
    """

    data_sources: int
    customers: int
    took_s: dict[str, float] = field(default_factory=dict)
    open_pools: int = 0
    peak_rss_mib: float = 0.0

    @contextmanager
    def measured(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.took_s[what] = time.perf_counter() - began


def measure(
    directory: Path,
    *,
    data_sources: int,
    customers: int,
    namespaces_of: str | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> Many:
    """A project of that size, made, applied and asked.

    Args:
        directory: empty; it becomes the current one.
        namespaces_of: the URL of a PostgreSQL database whose namespaces are the data sources; None: files.
    """
    os.chdir(directory)
    many = Many(data_sources, customers)
    _define(data_sources, namespaces_of)
    _make_source()
    with many.measured("first apply"):
        _run("apply")
    with wiring.build(Settings(), process="bench") as app:
        with many.measured("customers made, by the thousand"):
            _make_customers(app.engine, data_sources, customers)
        announce(f"{data_sources:,} data sources applied, {customers:,} customers made")
    _define_data_source(data_sources, namespaces_of)
    for what, arguments in {
        "apply of one more data source": ("apply",),
        "apply of nothing": ("apply",),
        "status": ("status", "--json"),
    }.items():
        with many.measured(what):
            _run(*arguments)
    with wiring.build(Settings(), process="bench") as app:
        _ask(app, many)
    many.peak_rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return many


def _ask(app: wiring.Application, many: Many) -> None:
    app.route_cache.watch()
    chosen = random.Random(1)
    names = [f"c{chosen.randrange(many.customers)}" for _ in range(1_000)]
    with many.measured("1,000 routes, cold"):
        for name in names:
            app.route_cache.resolve(GROUP, name, SCHEMA)
    with many.measured("1,000 routes, warm"):
        for name in names:
            app.route_cache.resolve(GROUP, name, SCHEMA)
    page = [f"c{i}" for i in range(min(5_000, many.customers))]
    with many.measured(f"a page of {len(page):,} customers routed"):
        app.routes.resolve(schema=SCHEMA, visibility_group=GROUP, customers=page, create_unknown=False)
    model = app.catalogue().model(ModelId("users"))
    with many.measured("each data source read once, by customers"):
        for index in range(many.data_sources):
            app.records.page(Reading(GROUP, f"c{index}", SCHEMA, model), RecordQuery())
            many.open_pools = max(many.open_pools, len(app.stores))
    with many.measured("each data source opened by its owner"):
        for index in range(many.data_sources):
            app.stores.open(DataSourceId(f"d{index}")).count(model)
            many.open_pools = max(many.open_pools, len(app.stores))
    app.sweep()
    with many.measured("one sweep"):
        app.sweep()
    many.open_pools = max(many.open_pools, len(app.stores))


# --- the project --------------------------------------------------------------------------------


def _define(data_sources: int, namespaces_of: str | None) -> None:
    _write("apps/app", name="App", type="sqlite", url="sqlite:///source.db")
    _write("schemas/shop", name="Shop")
    _write("visibility_groups/production", name="Production")
    _write("models/users", name="Users", schema=SCHEMA)
    _write(
        "sources/users", name="Users", model="users", primary=True, app="app", table="users", key=["id"],
        schedule={"cursor": "updated_at", "clock": "database"},
        properties={"name": {"type": "string", "column": "name"}},
    )  # fmt: skip
    for index in range(data_sources):
        _define_data_source(index, namespaces_of)


def _define_data_source(index: int, namespaces_of: str | None) -> None:
    place = (
        {"type": "sqlite", "url": f"sqlite:///stores/d{index}.db"}
        if namespaces_of is None
        else {"type": "postgres", "url": namespaces_of, "namespace": f"d{index}"}
    )
    default = {"default_for": [GROUP]} if index == 0 else {}
    _write(f"data_sources/d{index}", nickname=f"D {index}", schema=SCHEMA, **place, **default)


def _write(place: str, **body: Any) -> None:
    file = Path("config") / f"{place}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(body))


def _make_source() -> None:
    with closing(sqlite3.connect("source.db")) as source, source:
        source.execute("CREATE TABLE users (id integer PRIMARY KEY, name text, updated_at datetime)")


def _make_customers(engine: sa.Engine, data_sources: int, customers: int) -> None:
    """As if the API had made them: of ten, eight are bound and have records, one inherits, one has the
    default."""
    ids = [uuid.uuid4().hex for _ in range(customers)]
    names = {id_: f"c{i}" for i, id_ in enumerate(ids)}
    with writing(engine) as connection:
        for begin in range(0, customers, _A_STATEMENT):
            some = range(begin, min(begin + _A_STATEMENT, customers))
            rows = [
                {
                    "id": ids[i], "provided_id": f"c{i}", "visibility_group": GROUP, "name": f"C {i}",
                    "properties": {}, "origin": "api",
                    "parent_id": ids[i - 1] if i >= data_sources and i % 10 == 8 else None,
                }
                for i in some
            ]  # fmt: skip
            connection.execute(sa.insert(customer).values(made_at=now()), rows)
            bound = [
                {"customer_id": ids[i], "schema": SCHEMA, "data_source_id": f"d{i % data_sources}"}
                for i in some
                if i < data_sources or i % 10 < 8
            ]
            connection.execute(sa.insert(binding).values(origin="explicit"), bound)
            homes = [row | {"provided_id": names[row["customer_id"]]} for row in bound]
            connection.execute(sa.insert(residence), homes)
        connection.execute(sa.update(routing_version).values(version=routing_version.c.version + 1))


def _run(*arguments: str) -> None:
    before, sys.argv = sys.argv, ["headrace", *arguments]
    try:
        with redirect_stdout(StringIO()) as printed:
            code = command()
    finally:
        sys.argv = before
    if code:
        raise RuntimeError(f"headrace {' '.join(arguments)} ended with {code}: {printed.getvalue()[-2000:]}")


# --- the command --------------------------------------------------------------------------------


def main() -> int:
    """0 unless more pools were open than may be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__)
    parser.add_argument("--data-sources", type=int, default=1_000)
    parser.add_argument(
        "--namespaces", type=int, default=100, help="those of PostgreSQL, in a run of their own"
    )
    parser.add_argument("--customers", type=int, default=100_000)
    arguments = parser.parse_args()
    back = Path.cwd()
    outcomes = []
    with tempfile.TemporaryDirectory() as directory, database("many") as url:
        for name, number, namespaces_of in (
            ("files", arguments.data_sources, None),
            ("namespaces", arguments.namespaces, url),
        ):
            (Path(directory) / name).mkdir()
            outcomes.append(
                measure(
                    Path(directory) / name,
                    data_sources=number,
                    customers=arguments.customers,
                    namespaces_of=namespaces_of,
                    announce=lambda line, name=name: print(f"{name}: {line}", flush=True),  # type: ignore[misc]
                )
            )
            _print(name, outcomes[-1])
        os.chdir(back)
    return 0 if all(many.open_pools <= MOST_OPEN for many in outcomes) else 1


def _print(name: str, many: Many) -> None:
    print(f"\n{many.data_sources:,} {name}, {many.customers:,} customers")
    for what, seconds in many.took_s.items():
        print(f"  {what:45}{seconds:9.2f} s")
    print(f"  {'pools open at once':45}{many.open_pools:9d}")
    print(f"  {'peak RSS':45}{many.peak_rss_mib:9.0f} MiB", flush=True)


if __name__ == "__main__":
    sys.exit(main())
