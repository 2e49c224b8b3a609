"""A project of two visibility groups with data sources and customers, applied; commands and the API on it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from headrace import settings, wiring
from headrace.wiring import Application
from workers.sync import run_sync

PASSPHRASE = "a passphrase of these tests"
STAMP = "2024-01-01 00:00:00.000"


def _store(path: Path, groups: list[str], **more: Any) -> dict[str, Any]:
    body = {"nickname": path.stem, "schema": "shop", "visibility_groups": groups, "type": "sqlite"}
    return {**body, "url": f"sqlite:///{path}", **more}


def definitions(root: Path) -> dict[str, dict[str, Any]]:
    """Users of acme, globex and initech, of production; nothing is read in testing."""
    production, testing = ["production"], ["testing"]
    return {
        "visibility_groups/production": {"name": "Production"},
        "visibility_groups/testing": {"name": "Testing"},
        "schemas/shop": {"name": "Shop"},
        "models/users": {"name": "Users", "schema": "shop"},
        "apps/app": {
            "name": "App",
            "type": "sqlite",
            "url": f"sqlite:///{root}/app.db",
            "visibility_group": "production",
        },
        "data_sources/main": _store(root / "main.db", production, default_for=production),
        "data_sources/eu": _store(root / "eu.db", production, provided_id="eu-1"),
        "data_sources/test": _store(root / "test.db", testing, default_for=testing),
        "customers/globex": {
            "name": "Globex",
            "visibility_group": "production",
            "data_sources": {"shop": "eu"},
        },
        "sources/users": {
            "name": "Users",
            "model": "users",
            "primary": True,
            "app": "app",
            "table": "users",
            "key": ["id"],
            "customer": {"column": "tenant"},
            "schedule": {"cursor": "updated_at", "clock": "database"},
            "properties": {"name": {"type": "string", "column": "name"}},
        },
    }


def make_project(root: Path) -> None:
    """The files of the project, and the database that its app reads."""
    for place, body in definitions(root).items():
        file = root / "config" / f"{place}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(body))
    with closing(sqlite3.connect(root / "app.db")) as app, app:
        app.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, tenant TEXT, name TEXT, updated_at TEXT)")
        rows = [(1, "acme", "Ada"), (2, "acme", "Alan"), (3, "globex", "Grace"), (4, "initech", "Ida")]
        app.executemany(f"INSERT INTO users VALUES (?, ?, ?, '{STAMP}')", rows)


@contextmanager
def tenants(root: Path, **changes: Any) -> Iterator[Application]:
    """A process of the project, applied and synced."""
    make_project(root)
    values = {"secret_keys": (PASSPHRASE,), "sqlite_dir": root, "http_rate": 0, **changes}
    loaded = settings.load(
        **{"config_dir": root / "config", "control_url": f"sqlite:///{root}/control.db", **values}
    )
    with wiring.build(loaded, process="web") as app:
        assert not app.apply(app.definitions()).failed
        assert not run_sync(app).failed
        yield app


def records(file: Path) -> list[tuple[str, int]]:
    """Customer and key of each record of a store."""
    with closing(sqlite3.connect(file)) as store:
        return store.execute("SELECT _customer_id, id FROM users ORDER BY 1, 2").fetchall()
