"""Values and stores that nobody sane makes: none of them stops a feed, or a neighbour of it."""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace import wiring
from headrace.definition.loader import load
from headrace.settings import Settings
from headrace.steps.apply import ApplyReport
from headrace.stores import open_store
from tests.acceptance.project import query
from workers.sync import SyncReport, run_sync

SCHEDULE = {"cursor": "updated_at", "clock": "database"}


class Shop:
    """A shop in SQLite, of users and their purchases, merged into a store by one control database."""

    def __init__(self, directory: Path, store_url: str) -> None:
        self.directory = directory
        self.store_url = store_url
        self.execute(
            "CREATE TABLE users (id TEXT NOT NULL PRIMARY KEY, updated_at TEXT)",
            "CREATE TABLE purchases (id INTEGER PRIMARY KEY, buyer TEXT, amount REAL, updated_at TEXT)",
        )
        self.write("schemas", "shop", {"name": "Shop"})
        self.write("visibility_groups", "g", {"name": "G"})
        self.write("models", "users", {"name": "Users", "schema": "shop"})
        url = f"sqlite:///{directory}/shop.db"
        self.write("apps", "shop", {"name": "Shop", "type": "sqlite", "url": url})
        kind = "sqlite" if store_url.startswith("sqlite") else "postgres"
        main = {"nickname": "Main", "schema": "shop", "default_for": ["g"], "type": kind, "url": store_url}
        self.write("data_sources", "main", main)
        common = {"model": "users", "app": "shop", "key": ["id"], "schedule": SCHEDULE}
        id_ = {"id": {"type": "string", "column": "id"}}
        users = {"name": "U", "primary": True, "table": "users", "properties": id_, **common}
        self.write("sources", "users", users)
        self.purchases = {"name": "P", "table": "purchases", "mapping": {"buyer": "id"}, **common}

    def write(self, kind: str, id_: str, body: Mapping[str, Any]) -> None:
        file = self.directory / "config" / kind / f"{id_}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(body))

    def define(self, properties: Mapping[str, Any]) -> None:
        self.write("sources", "purchases", {**self.purchases, "properties": properties})

    def execute(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.directory / "shop.db")) as source, source:
            for statement in statements:
                source.execute(statement)

    def add(self, table: str, *rows: tuple[Any, ...]) -> None:
        with closing(sqlite3.connect(self.directory / "shop.db")) as source, source:
            marks = ", ".join("?" for _ in rows[0])
            stamped = f"INSERT INTO {table} VALUES ({marks}, '2024-01-01 00:00:00.000')"
            source.executemany(stamped, rows)

    def sync(self, control: str = "control") -> tuple[ApplyReport, SyncReport]:
        url = f"sqlite:///{self.directory}/{control}.db"
        app = wiring.build(Settings(control_url=url), process="test")
        try:
            return app.apply(load(self.directory / "config", os.environ)), run_sync(app)
        finally:
            app.close()

    def records(self, columns: str) -> list[tuple[Any, ...]]:
        table = "users" if self.store_url.startswith("sqlite") else "headrace.users"
        return query(self.store_url, f"SELECT {columns} FROM {table} ORDER BY id")


@pytest.fixture(params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    if request.param == "sqlite":
        yield Shop(tmp_path, f"sqlite:///{tmp_path}/store.db")
    else:
        yield Shop(tmp_path, request.getfixturevalue("postgres_database"))


def total(aggregation: str, type_: str = "float") -> dict[str, Any]:
    return {"type": type_, "aggregation": aggregation, "column": "amount"}


def test_floats_whose_sum_no_float_holds_give_null_and_stop_nobody(shop: Shop) -> None:
    shop.define({"total": total("sum"), "mean": total("average")})
    shop.add("users", ("ann",), ("bob",), ("cid",), ("dan",), ("eve",), ("fay",))
    amounts = {
        "ann": (1e308, 1e308),
        "bob": (1e308, 1.0),
        "cid": (1e308, 1e308, -1e308),
        "dan": (1.5, 2.0),
        "eve": (5e-324, 0.0, 0.0),
        "fay": (1.7976931348623157e308, 1.0),
    }
    rows = [(buyer, amount) for buyer, own in amounts.items() for amount in own]
    shop.add("purchases", *((place, *row) for place, row in enumerate(rows)))
    _, report = shop.sync()
    assert not report.failed, report.merges
    assert shop.records("id, total, mean") == [
        ("ann", None, None),
        ("bob", 1e308, 5e307),
        ("cid", 1e308, pytest.approx(1e308 / 3)),
        ("dan", 3.5, 1.75),
        ("eve", 5e-324, 0.0),
        ("fay", 1.7976931348623157e308, pytest.approx(8.988465674311579e307)),
    ]


def test_a_text_too_long_for_an_index_stops_no_other_feed(shop: Shop) -> None:
    shop.define({"count": {"type": "integer", "aggregation": "count"}})
    long = "".join(uuid.uuid4().hex for _ in range(300))
    shop.add("users", ("ann",), (long,))
    shop.add("purchases", (1, "ann", 1.0), (2, long, 1.0), (3, "ann", 1.0))
    _, report = shop.sync()
    assert not report.failed, report.merges
    assert sum(feed.rejected for feed in report.feeds) == 1
    assert shop.records("id, count") == [("ann", 2)]


def test_another_workspace_writes_nothing_into_a_store_and_reads_nothing(shop: Shop) -> None:
    shop.define({"count": {"type": "integer", "aggregation": "count"}})
    shop.add("users", ("ann",), ("bob",))
    shop.add("purchases", (1, "ann", 1.0))
    assert not shop.sync()[1].failed
    shop.add("users", ("cid",))
    shop.add("purchases", (2, "ann", 1.0))
    for _ in range(2):
        applied, synced = shop.sync("another_control")
        assert applied.failed
        assert synced.failed
        assert shop.records("id, count") == [("ann", 1), ("bob", 0)]
    store = open_store(
        data_source_id="main",
        url=shop.store_url,
        namespace="headrace",
        workspace="another",
        schema="shop",
    )
    with pytest.raises(Exception, match="the tables belong to data source 'main'"):
        store.held_rows()
    store.close()
