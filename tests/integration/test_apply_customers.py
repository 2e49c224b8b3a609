"""Apps whose customer changes, and apps that go: nothing of the old customer stays, nothing else goes."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace import wiring
from headrace.definition.loader import load
from headrace.settings import Settings
from workers.sync import run_sync

SCHEDULE = {"cursor": "updated_at", "clock": "database"}


class Project:
    """Two shops of one shape, read by one source each way, into one SQLite store."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for shop in ("one", "two"):
            with closing(sqlite3.connect(directory / f"{shop}.db")) as source, source:
                source.executescript(
                    """CREATE TABLE users (id INTEGER PRIMARY KEY, updated_at TEXT);
                       CREATE TABLE orders (id INTEGER PRIMARY KEY, buyer INTEGER, updated_at TEXT);"""
                )
                for row in range(1, 4):
                    stamp = "2024-01-01 00:00:00.000"
                    source.execute("INSERT INTO users VALUES (?, ?)", (row, stamp))
                    source.execute("INSERT INTO orders VALUES (?, ?, ?)", (row, row, stamp))
        self.app = wiring.build(Settings(control_url=f"sqlite:///{directory}/control.db"), process="test")

    def write(self, kind: str, id_: str, body: dict[str, Any]) -> None:
        file = self.directory / "config" / kind / f"{id_}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(body))

    def define(self, customers: dict[str, str], source_apps: dict[str, Any]) -> None:
        """Apps with these customers, both sources read through `source_apps`."""
        self.write("schemas", "s", {"name": "S"})
        self.write("visibility_groups", "g", {"name": "G"})
        self.write("models", "users", {"name": "Users", "schema": "s"})
        store = f"sqlite:///{self.directory}/store.db"
        self.write(
            "data_sources",
            "main",
            {"nickname": "Main", "schema": "s", "default_for": ["g"], "type": "sqlite", "url": store},
        )
        for shop, customer in customers.items():
            url = f"sqlite:///{self.directory}/{shop}.db"
            self.write("apps", shop, {"name": shop, "type": "sqlite", "url": url, "customer": customer})
        common = {"model": "users", "key": ["id"], "schedule": SCHEDULE, **source_apps}
        id_ = {"id": {"type": "integer", "column": "id"}}
        self.write(
            "sources",
            "users",
            {"name": "Users", "primary": True, "table": "users", "properties": id_, **common},
        )
        count = {"orders": {"type": "integer", "aggregation": "count"}}
        self.write(
            "sources",
            "orders",
            {"name": "O", "table": "orders", "mapping": {"buyer": "id"}, "properties": count, **common},
        )

    def sync(self) -> list[tuple[Any, ...]]:
        """Customer, key and orders of every record after apply and sync."""
        report = self.app.apply(load(self.directory / "config", os.environ))
        assert not report.failed, report
        assert not run_sync(self.app).failed
        with closing(sqlite3.connect(self.directory / "store.db")) as store:
            return store.execute("SELECT _customer_id, id, orders FROM users ORDER BY 1, 2").fetchall()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    yield project
    project.app.close()


def of(*customers: str) -> list[tuple[Any, ...]]:
    return [(customer, id_, 1) for customer in sorted(customers) for id_ in range(1, 4)]


def test_an_app_that_gets_another_customer_leaves_nothing_with_the_old_one(project: Project) -> None:
    project.define({"one": "acme"}, {"app": "one"})
    assert project.sync() == of("acme")
    project.define({"one": "globex"}, {"app": "one"})
    assert project.sync() == of("globex")
    assert project.sync() == of("globex")


def test_customers_of_one_source_change_and_swap(project: Project) -> None:
    project.define({"one": "acme", "two": "globex"}, {"apps": ["one", "two"]})
    assert project.sync() == of("acme", "globex")
    project.define({"one": "acme", "two": "initech"}, {"apps": ["one", "two"]})
    assert project.sync() == of("acme", "initech")
    project.define({"one": "initech", "two": "acme"}, {"apps": ["one", "two"]})
    assert project.sync() == of("acme", "initech")


def test_an_app_that_is_read_no_more_takes_its_rows_along(project: Project) -> None:
    project.define({"one": "acme", "two": "globex"}, {"apps": ["one", "two"]})
    assert project.sync() == of("acme", "globex")
    project.define({"one": "acme", "two": "globex"}, {"apps": ["one"]})
    assert project.sync() == of("acme")
    project.define({"one": "acme", "two": "globex"}, {"apps": ["one", "two"]})
    assert project.sync() == of("acme", "globex")
