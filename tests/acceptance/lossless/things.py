"""The table `things` read into a record each, by the real steps of one process, poll by poll."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headrace import opening, wiring
from headrace.settings import Settings
from headrace.sources.connect import open_reader
from headrace.steps.fetch import PollReport
from tests.acceptance.lossless.databases import TABLE, MysqlDatabase, PostgresDatabase, SqliteDatabase
from tests.acceptance.project import Project

Database = MysqlDatabase | PostgresDatabase | SqliteDatabase


def definitions(database: Database, schedule: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        "apps/shop": {"name": "Shop", "type": database.type, "url": "${SHOP_URL}"},
        "schemas/shop": {"name": "Shop"},
        "visibility_groups/production": {"name": "Production"},
        "data_sources/main": {
            "nickname": "Main",
            "provided_id": "main-1",
            "schema": "shop",
            "visibility_groups": ["production"],
            "default_for": ["production"],
            "type": "sqlite",
            "url": "${STORE_URL}",
        },
        "models/things": {"name": "Things", "schema": "shop"},
        "sources/things": {
            "name": "Things",
            "model": "things",
            "primary": True,
            "app": "shop",
            "table": TABLE,
            "key": ["id"],
            "schedule": {"cursor": "updated_at", "clock": "database", **schedule},
            "properties": {
                "thing_id": {"type": "integer", "column": "id"},
                "name": {"type": "string", "column": "name"},
            },
        },
    }


def project_of(root: Path, database: Database, **schedule: Any) -> Project:
    """The project as a directory, for the command line."""
    environment = {
        "SHOP_URL": database.reading_url,
        "STORE_URL": f"sqlite:///{root / 'store.db'}",
    }
    return Project.create(root, definitions(database, schedule), environment, warm=True)


def records(project: Project) -> dict[int, str]:
    """The names of the store's records, by key."""
    with closing(sqlite3.connect(project.root / "store.db")) as store:
        return dict(store.execute("SELECT thing_id, name FROM things").fetchall())


def feed_state_bytes(project: Project) -> int:
    """What the one feed remembers between polls."""
    columns = "saved_cursor, saved_key, lead_cursor, lead_key, fence_state, digests, reconciliation"
    (remembered,) = project.control(f"SELECT {columns} FROM feed")
    return sum(len(str(value).encode()) for value in remembered)


@dataclass
class Things:
    """Polls the one feed of a project, and merges what it journalled."""

    project: Project
    database: Database
    patch: pytest.MonkeyPatch
    app: wiring.Application = field(init=False)

    def __post_init__(self) -> None:
        for name, value in self.project.environment.items():
            self.patch.setenv(name, value)
        self.patch.setattr(
            opening, "open_reader", lambda *a, **kw: self.database.strict(open_reader(*a, **kw))
        )
        self.app = self._opened()
        self.app.apply(self.app.definitions())

    def _opened(self) -> wiring.Application:
        control = self.project.environment["HEADRACE_CONTROL_URL"]
        settings = Settings(control_url=control, config_dir=self.project.root / "config")
        return wiring.build(settings, process="sync")

    def restart(self) -> None:
        """Another process goes on."""
        self.app.close()
        self.app = self._opened()

    def close(self) -> None:
        self.app.close()

    def poll(self, trigger: str = "schedule") -> PollReport:
        """The feed is read to its end, and what it journalled is merged."""
        feed = self.app.status.feed_status()[0]
        report = self.app.poll(feed.feed_id, trigger)
        assert report.error is None, report.error
        assert report.complete
        for target in self.app.targets():
            self.app.merge(*target)
        return report

    def find_the_server_gone(self) -> None:
        """The first poll after a restart of the source fails, in a way that passes by itself."""
        report = self.app.poll(self.app.status.feed_status()[0].feed_id)
        assert report.error
        assert report.retryable

    def reconcile(self, *, full: bool) -> None:
        self.app.commands.request_reconcile("things", full=full, confirm=False)
        self.poll()

    def names(self) -> dict[int, str]:
        return records(self.project)

    def journalled(self) -> int:
        """Rows that were ever journalled, merged or not."""
        return int(self.project.control("SELECT coalesce(sum(rows), 0) FROM batch")[0][0])

    def feed_class(self) -> tuple[str, str]:
        """The class and its reason as `headrace status` tells them."""
        status = json.loads(self.project.headrace("status", "--json"))[0]
        return status["class"], status["class_reason"] or ""
