"""A small shop whose data source refuses rows, as its owner's own constraints and triggers do."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from headrace import wiring
from headrace.control.runs import Rejected
from headrace.definition.loader import load
from headrace.settings import Settings
from headrace.steps.merge_report import MergeReport, MergeState

PROJECT: dict[str, Any] = {
    "apps/shop.json": {
        "name": "Shop", "type": "sqlite", "url": "sqlite:///${SHOP}/source.db", "customer": "acme",
    },
    "schemas/s.json": {"name": "S"},
    "visibility_groups/g.json": {"name": "G"},
    "data_sources/main.json": {
        "nickname": "Main", "schema": "s", "default_for": ["g"], "type": "", "url": "${SHOP_STORE}",
    },
    "customers/acme.json": {"name": "Acme"},
    "models/users.json": {"name": "Users", "schema": "s"},
    "sources/users.json": {
        "name": "Users", "model": "users", "primary": True, "app": "shop", "table": "users", "key": ["id"],
        "schedule": {"cursor": "updated_at", "clock": "database"},
        "properties": {
            "id": {"type": "integer", "column": "id"},
            "name": {"type": "string", "column": "name"},
            "born_on": {"type": "date", "column": "born_on"},
        },
    },
    "sources/purchases.json": {
        "name": "Purchases", "model": "users", "app": "shop", "table": "purchases", "key": ["id"],
        "mapping": {"buyer_id": "id"}, "schedule": {"cursor": "updated_at", "clock": "database"},
        "properties": {"total": {"type": "integer", "aggregation": "sum", "column": "amount"}},
    },
}  # fmt: skip

_TABLES = """
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, born_on TEXT,
                    updated_at TEXT DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')));
CREATE TABLE purchases (id INTEGER PRIMARY KEY, buyer_id INTEGER, amount INTEGER,
                        updated_at TEXT DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')));
"""


class Shop:
    """The source, the application over it, and its data source."""

    def __init__(self, directory: Path, store_url: str) -> None:
        self.store_url = store_url
        self.source = sqlite3.connect(directory / "source.db", isolation_level=None)
        self.app = wiring.build(settings(directory), process="test")

    # --- the source -----------------------------------------------------------------------------

    def user(self, id_: int, name: str, born_on: str | None = None) -> None:
        self.source.execute("REPLACE INTO users (id, name, born_on) VALUES (?, ?, ?)", (id_, name, born_on))

    def users(self, *names: str) -> None:
        """Users 1, 2, …, in one transaction."""
        self.source.execute("BEGIN")
        for id_, name in enumerate(names, start=1):
            self.user(id_, name)
        self.source.execute("COMMIT")

    def purchase(self, id_: int, buyer: int, amount: int) -> None:
        self.source.execute(
            "REPLACE INTO purchases (id, buyer_id, amount) VALUES (?, ?, ?)", (id_, buyer, amount)
        )

    def delete(self, table: str, id_: int) -> None:
        self.source.execute(f"DELETE FROM {table} WHERE id = ?", (id_,))

    # --- the data source ------------------------------------------------------------------------

    @property
    def is_sqlite(self) -> bool:
        return self.store_url.startswith("sqlite")

    def store(self, statement: str) -> list[tuple[Any, ...]]:
        if self.is_sqlite:
            with closing(sqlite3.connect(self.store_url.removeprefix("sqlite:///"))) as store, store:
                return store.execute(statement).fetchall()
        with psycopg.connect(self.store_url, options="-c search_path=headrace") as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def refuse(self, column: str, condition: str) -> None:
        """Records for which the condition on the column holds are refused from now on."""
        if not self.is_sqlite:
            self.store(f"ALTER TABLE users ADD CONSTRAINT refuse CHECK (NOT ({condition})) NOT VALID")
            return
        told = condition.replace(column, f"NEW.{column}")
        for event in ("INSERT", f"UPDATE OF {column}"):
            self.store(
                f"CREATE TRIGGER refuse_{event[:6].lower()} BEFORE {event} ON users WHEN {told}"
                " BEGIN SELECT RAISE(ABORT, 'refuse'); END"
            )

    def refuse_deletes(self, *ids: int) -> None:
        """These records, or all that are there, cannot be deleted from now on."""
        mine = f"id IN ({', '.join(map(str, ids))})" if ids else "id IS NOT NULL"
        if self.is_sqlite:
            self.store(
                f"CREATE TRIGGER refuse_delete BEFORE DELETE ON users WHEN OLD.{mine}"
                " BEGIN SELECT RAISE(ABORT, 'refuse'); END"
            )
            return
        self.store("CREATE TABLE notes (customer text, user_id bigint, text text)")
        self.store("ALTER TABLE notes ADD FOREIGN KEY (customer, user_id) REFERENCES users")
        self.store(f"INSERT INTO notes SELECT _customer_id, id, 'refuse' FROM users WHERE {mine}")

    def allow(self) -> None:
        if not self.is_sqlite:
            self.store("ALTER TABLE users DROP CONSTRAINT IF EXISTS refuse")
            self.store("DROP TABLE IF EXISTS notes")
            return
        for event in ("insert", "update", "delete"):
            self.store(f"DROP TRIGGER IF EXISTS refuse_{event}")

    def names(self) -> dict[int, str]:
        return dict(self.store("SELECT id, name FROM users ORDER BY id"))  # type: ignore[arg-type]

    def totals(self) -> dict[int, int]:
        return dict(self.store("SELECT id, total FROM users ORDER BY id"))  # type: ignore[arg-type]

    # --- the work -------------------------------------------------------------------------------

    def poll(self) -> None:
        for feed in self.app.commands.feeds():
            report = self.app.poll(feed)
            assert report.error is None, report

    def merge(self) -> MergeReport:
        (target,) = self.app.targets()
        return self.app.merge(*target)

    def settle(self) -> MergeReport:
        """What changed is read and merged."""
        self.poll()
        report = self.merge()
        assert report.state is MergeState.DRAINED, report
        assert all(not feed.pending_batches for feed in self.app.status.feed_status())
        return report

    def replay(self) -> None:
        self.app.runs.replay()
        self.settle()

    def rejected(self, state: str = "open") -> list[Rejected]:
        return self.app.runs.rejected(limit=10_000, state=state)

    def rejected_keys(self, state: str = "open") -> list[int]:
        return sorted(int(str(row.key[0])) for row in self.rejected(state))

    def close(self) -> None:
        self.source.close()
        self.app.close()


def settings(directory: Path) -> Settings:
    return Settings(control_url=f"sqlite:///{directory}/control.db", config_dir=directory / "config")


@contextmanager
def shop_at(directory: Path, store_url: str) -> Iterator[Shop]:
    """An applied shop without rows; SHOP and SHOP_STORE of the environment name its places."""
    for name, body in PROJECT.items():
        file = directory / "config" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        kind = "sqlite" if store_url.startswith("sqlite") else "postgres"
        file.write_text(json.dumps({**body, "type": kind} if name.startswith("data_sources") else body))
    shop = Shop(directory, store_url)
    try:
        shop.source.executescript(_TABLES)
        report = shop.app.apply(load(directory / "config", dict(os.environ)))
        assert not report.failed, report
        yield shop
    finally:
        shop.close()
