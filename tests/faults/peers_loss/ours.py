"""Headrace itself in the harness: its own poll and merge, over SQLite for control and store."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from headrace import wiring
from headrace.definition.loader import load
from headrace.settings import Settings
from tests.faults.peers_loss.database import Session, Source

NAME = "Headrace"
PAGE_ROWS = 200


def definitions(source: Source, store: Path) -> dict[str, Any]:
    """One table, polled by its cursor alone: what a reconciliation would mend is lost here."""
    return {
        "apps/shop": source.app(),
        "schemas/shop": {"name": "Shop"},
        "visibility_groups/production": {"name": "Production"},
        "data_sources/main": {
            "nickname": "Main",
            "schema": "shop",
            "default_for": ["production"],
            "type": "sqlite",
            "url": f"sqlite:///{store}",
        },
        "models/items": {"name": "Items", "schema": "shop"},
        "sources/items": {
            "name": "Items",
            "model": "items",
            "primary": True,
            "app": "shop",
            "table": source.table,
            "key": ["id"],
            "schedule": {
                "cursor": "updated_at",
                "clock": "database",
                "page_rows": PAGE_ROWS,
                "deletes": "ignore",
                "reconcile_every": "365d",
            },
            "properties": {
                "id": {"type": "integer", "column": "id"},
                "version": {"type": "integer", "column": "version"},
            },
        },
    }


class Headrace:
    """Implements `peers.Strategy` by fetch and merge steps, wired as in the processes."""

    name = NAME

    def __init__(self, source: Source, directory: Path) -> None:
        self._store = directory / "store.db"
        self._control = directory / "control.db"
        config = directory / "config"
        for place, definition in definitions(source, self._store).items():
            file = config / f"{place}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(definition))
        settings = Settings(config_dir=config, control_url=f"sqlite:///{self._control}")
        self._app = wiring.build(settings, process="peers-loss")
        report = self._app.apply(load(config, os.environ))
        if report.failed:
            raise RuntimeError(f"the definitions are not applied: {report}")
        (feed,) = self._app.status.feed_status()
        self._feed = feed.feed_id

    def poll(self, _session: Session) -> None:
        """Everything that the poll saw is in the store."""
        report = self._app.poll(self._feed)
        if report.error is not None or not report.complete:
            raise RuntimeError(f"the poll failed: {report}")
        for target in self._app.targets():
            self._app.merge(*target)

    @property
    def got(self) -> dict[int, int]:
        with closing(sqlite3.connect(self._store)) as store:
            return dict(store.execute("SELECT id, version FROM items").fetchall())

    def reconciled(self) -> bool:
        """Rows may have come by a comparison with the source instead of by the cursor."""
        with closing(sqlite3.connect(self._control)) as control:
            return bool(control.execute("SELECT count(*) FROM batch WHERE kind = 'keys'").fetchone()[0])

    def close(self) -> None:
        self._app.close()
