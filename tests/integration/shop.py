"""A shop in a database of either dialect, its records in SQLite, all steps in this process."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace import wiring
from headrace.control.status import FeedStatus
from headrace.definition.loader import load
from headrace.domain.vocabulary import FeedId
from headrace.settings import Settings
from headrace.steps.apply import ApplyReport
from tests.acceptance.project import execute, query

NOW = {"postgres": "clock_timestamp()", "mysql": "NOW(6)", "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')"}
MOMENT = {"postgres": "timestamptz", "mysql": "datetime(6)", "sqlite": "datetime"}
USERS, ORDERS = "users", "orders"

ORACLE = """
SELECT u.id, u.name, u.age, (SELECT count(*) FROM orders o WHERE o.user_id = u.id)
FROM users u ORDER BY u.id
"""


def definitions(kind: str, url: str, root: Path) -> dict[str, dict[str, Any]]:
    schedule = {"cursor": "updated_at", "clock": "database"}
    return {
        "apps/app": {"name": "App", "type": kind, "url": url},
        "schemas/shop": {"name": "Shop"},
        "visibility_groups/all": {"name": "All"},
        "data_sources/main": {
            "nickname": "Main", "schema": "shop", "default_for": ["all"], "type": "sqlite",
            "url": f"sqlite:///{root}/store.db",
        },
        "models/users": {"name": "Users", "schema": "shop"},
        "sources/users": {
            "name": "Users", "model": "users", "primary": True, "app": "app", "table": "users", "key": ["id"],
            "schedule": schedule,
            "properties": {
                "name": {"type": "string", "column": "name"},
                "age": {"type": "integer", "column": "age"},
            },
        },
        "sources/orders": {
            "name": "Orders", "model": "users", "app": "app", "table": "orders", "key": ["id"],
            "mapping": {"user_id": "id"}, "schedule": schedule,
            "properties": {"orders": {"type": "integer", "aggregation": "count"}},
        },
    }  # fmt: skip


@dataclass
class Shop:
    """The databases and the process."""

    kind: str
    url: str
    root: Path
    app: wiring.Application = field(init=False)

    def __post_init__(self) -> None:
        self.app = self.process()

    @classmethod
    @contextmanager
    def opened(cls, kind: str, url: str, root: Path, *, users: int = 3) -> Iterator[Shop]:
        """A shop with users 1 to n, each with one order, that is synced."""
        moment = MOMENT[kind]
        execute(
            url,
            f"CREATE TABLE users (id integer PRIMARY KEY, name varchar(20), age integer, extra text,"
            f" updated_at {moment} NOT NULL)",
            f"CREATE TABLE orders (id integer PRIMARY KEY, user_id integer, updated_at {moment} NOT NULL)",
        )
        root.mkdir(parents=True, exist_ok=True)
        shop = cls(kind, url, root)
        for place, body in definitions(kind, url, root).items():
            shop.define(place, body)
        for id_ in range(1, users + 1):
            shop.add(id_)
        try:
            shop.apply()
            shop.sync()
            shop.assert_equal()
            yield shop
        finally:
            shop.app.close()

    def process(self) -> wiring.Application:
        settings = Settings(control_url=f"sqlite:///{self.root}/control.db", config_dir=self.root / "config")
        return wiring.build(settings, process="test")

    def restart(self) -> None:
        self.app.close()
        self.app = self.process()

    def define(self, place: str, body: Mapping[str, Any]) -> None:
        file = self.root / "config" / f"{place}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(body))

    def definition(self, place: str) -> dict[str, Any]:
        body: dict[str, Any] = json.loads((self.root / "config" / f"{place}.json").read_text())
        return body

    def apply(self) -> ApplyReport:
        report = self.app.apply(load(self.root / "config", {}))
        assert not report.failed, report
        return report

    # --- the source -----------------------------------------------------------------------------

    def execute(self, *statements: str) -> None:
        execute(self.url, *(s.replace("NOW()", NOW[self.kind]) for s in statements))

    def add(self, id_: int) -> None:
        """A user and an order."""
        self.execute(
            f"INSERT INTO users (id, name, age, updated_at) VALUES ({id_}, 'user {id_}', {20 + id_}, NOW())",
            f"INSERT INTO orders (id, user_id, updated_at) VALUES ({id_}, {id_}, NOW())",
        )

    def rename(self, id_: int, name: str) -> None:
        self.execute(f"UPDATE users SET name = '{name}', updated_at = NOW() WHERE id = {id_}")

    # --- what Headrace does ---------------------------------------------------------------------

    def sync(self) -> None:
        """Every feed is polled until nothing asks for more, and all is merged; errors are in the status."""
        for feed in self.app.status.feed_status():
            for _ in range(10):
                if not self.app.poll(feed.feed_id).again:
                    break
        for target in self.app.targets():
            self.app.merge(*target)

    def status(self, source_id: str) -> FeedStatus:
        return next(f for f in self.app.status.feed_status() if f.source_id == source_id)

    def feed(self, source_id: str) -> FeedId:
        return self.status(source_id).feed_id

    def journalled(self, source_id: str) -> int:
        """Batches that were ever journalled."""
        with closing(sqlite3.connect(self.root / "control.db")) as control:
            (count,) = control.execute(
                "SELECT coalesce(sum(seq), 0) FROM feed_log WHERE feed_id = ?", (self.feed(source_id),)
            ).fetchone()
        return int(count)

    def records(self) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.root / "store.db")) as store:
            return store.execute("SELECT id, name, age, orders FROM users ORDER BY id").fetchall()

    def assert_equal(self) -> None:
        assert self.records() == query(self.url, ORACLE)
