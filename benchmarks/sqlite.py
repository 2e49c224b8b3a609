"""W1 embedded: source, store and control database are SQLite files; beside the same by hand."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.kept import PROJECT
from benchmarks.measured import Measured, run_measured
from benchmarks.ours import sync
from benchmarks.outcome import Result
from benchmarks.project import define
from benchmarks.work import Task

TABLE = """
CREATE TABLE users (
  id INTEGER PRIMARY KEY, email TEXT, first_name TEXT, last_name TEXT, plan TEXT, ltv TEXT, is_active BOOLEAN,
  created_at DATETIME, updated_at DATETIME)
"""
_FILL = """
WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < :rows)
INSERT INTO users
SELECT i,
       'user' || i || '@example.com',
       CASE i % 4 WHEN 0 THEN 'Ada' WHEN 1 THEN 'Ünal' WHEN 2 THEN '' ELSE 'O''Neil' END,
       CASE WHEN i % 17 <> 0 THEN 'Family' || (i * 7919) % 100003 END,
       CASE i % 3 WHEN 0 THEN 'free' WHEN 1 THEN 'basic' ELSE 'pro' END,
       printf('%d.%d', (i * 7919) % 10000, 1 + i % 9),
       i % 3 <> 0,
       strftime('%Y-%m-%d %H:%M:%f', 1672531200 + i * 13.37, 'unixepoch'),
       strftime('%Y-%m-%d %H:%M:%f', 1704067200 + (i / 3) * 13666666.9 / (:rows / 3 + 1), 'unixepoch')
  FROM numbers
"""

# Times as the store keeps them: in UTC, with microseconds.
_SOURCE_ROWS = """
SELECT id, email, first_name, last_name, plan, ltv, is_active,
       replace(created_at, ' ', 'T') || '000Z', replace(updated_at, ' ', 'T') || '000Z' FROM shop.users
"""
_STORE_ROWS = """
SELECT id, email, first_name, last_name, plan, ltv, is_active, created_at, updated_at FROM users
"""


def first_load(task: Task) -> Iterator[Result]:
    """Whole processes, in turn."""
    source = task.directory / "shop.db"
    task.announce(f"making {task.extent.count:,} users")
    with closing(sqlite3.connect(source)) as made, made:
        made.execute(TABLE)
        made.execute(_FILL, {"rows": task.extent.count})
        made.execute("CREATE INDEX users_updated_at_id_idx ON users (updated_at, id)")
    for number in task.rounds:
        with tempfile.TemporaryDirectory(dir=task.directory) as directory:
            yield _by_hand(source, Path(directory), number)
        with tempfile.TemporaryDirectory(dir=task.directory) as directory:
            yield _headrace(source, Path(directory), number)


def _by_hand(source: Path, directory: Path, number: int) -> Result:
    store = directory / "store.db"
    measured = run_measured(
        [sys.executable, "-m", "benchmarks.sqlite_by_hand", str(source), str(store)],
        directory=directory,
        environment={"PYTHONPATH": str(PROJECT)},
        log=directory / "by_hand.log",
    )
    equal = _differences(store, source, "SELECT * FROM users", "SELECT * FROM shop.users") == 0
    return _result("reference", number, measured, equal=equal)


def _headrace(source: Path, directory: Path, number: int) -> Result:
    store = directory / "store.db"
    define(directory, source="sqlite", store="sqlite", table="users")
    environment = {
        "SHOP_URL": f"sqlite:///{source}",
        "STORE_URL": f"sqlite:///{store}",
        "HEADRACE_CONTROL_URL": f"sqlite:///{directory / 'control.db'}",
    }
    measured = sync(directory, environment)
    return _result(
        "headrace", number, measured, equal=_differences(store, source, _STORE_ROWS, _SOURCE_ROWS) == 0
    )


def _result(peer: str, number: int, measured: Measured, *, equal: bool) -> Result:
    return Result(peer=peer, round=number, figures=measured.figures(), equal=equal)


def _differences(store: Path, source: Path, stored: str, wanted: str) -> int:
    """Rows that only one of both has."""
    with closing(sqlite3.connect(store)) as database:
        database.execute("ATTACH ? AS shop", [str(source)])
        only = "SELECT count(*) FROM (SELECT * FROM ({}) EXCEPT SELECT * FROM ({}))"
        (missing,) = database.execute(only.format(wanted, stored)).fetchone()
        (added,) = database.execute(only.format(stored, wanted)).fetchone()
        return int(missing) + int(added)
