"""W1 from MariaDB into PostgreSQL; beside a plain read by PyMySQL's SSCursor and the reference's merge."""

from __future__ import annotations

import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql

from benchmarks import users
from benchmarks.database import database, run, settle
from benchmarks.kept import PROJECT
from benchmarks.measured import run_measured
from benchmarks.ours import sync
from benchmarks.outcome import Result
from benchmarks.project import define
from benchmarks.reference import merging
from benchmarks.users import Checksum
from benchmarks.work import Task

SERVER_URL = os.environ.get("HEADRACE_TEST_MYSQL_URL", "mysql://root@127.0.0.1:3306")
_TABLE = """
CREATE TABLE users (
  id bigint PRIMARY KEY, email varchar(255), first_name varchar(255), last_name varchar(255),
  plan varchar(255), ltv decimal(12,2), is_active boolean, created_at datetime(6), updated_at datetime(6))
"""
_FILL = """
INSERT INTO users
SELECT seq,
       concat('user', seq, '@example.com'),
       elt(1 + seq % 8, 'Ada', 'Grace', 'Edsger', 'Barbara', 'Donald', 'Ünal', '', 'O''Neil'),
       CASE WHEN seq % 17 <> 0 THEN concat('Family', (seq * 7919) % 100003) END,
       elt(1 + seq % 4, 'free', 'basic', 'pro', 'enterprise'),
       ((seq * 7919) % 1000000) / 100,
       seq % 3 <> 0,
       '2023-01-01' + INTERVAL (seq * 13370000) MICROSECOND,
       '2024-01-01' + INTERVAL floor((seq DIV 3) * 13666666900000 / ({rows} DIV 3 + 1)) MICROSECOND
  FROM seq_1_to_{rows}
"""


def first_load(task: Task) -> Iterator[Result]:
    """Whole processes, in turn."""
    with _source() as source_url:
        task.announce(f"making {task.extent.count:,} users")
        wanted = _make(source_url, task.extent.count)
        for number in task.rounds:
            for measure in (_by_hand, _headrace):
                with (
                    tempfile.TemporaryDirectory(dir=task.directory) as directory,
                    database("store") as store_url,
                ):
                    yield measure(source_url, store_url, Path(directory), number, wanted)


def connection(url: str, **arguments: Any) -> pymysql.Connection[Any]:
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.strip("/")) or None,
        charset="utf8mb4",
        autocommit=True,
        **arguments,
    )


@contextmanager
def _source() -> Iterator[str]:
    """The URL of a fresh database, dropped afterwards."""
    name = f"headrace_bench_{uuid.uuid4().hex[:8]}"
    with closing(connection(SERVER_URL)) as server, server.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    try:
        yield f"{SERVER_URL.rstrip('/')}/{name}"
    finally:
        with closing(connection(SERVER_URL)) as server, server.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")


def _make(source_url: str, count: int) -> Checksum:
    """The table, and the checksum of its rows as PostgreSQL takes it, of a copy made row by row."""
    with closing(connection(source_url)) as source, source.cursor() as cursor:
        cursor.execute(_TABLE)
        cursor.execute(_FILL.format(rows=int(count)))
        cursor.execute("CREATE INDEX users_updated_at_id_idx ON users (updated_at, id)")
        cursor.execute("ANALYZE TABLE users")
    return _checksum_of_a_copy(source_url)


def _checksum_of_a_copy(source_url: str) -> Checksum:
    with database("copy") as copy_url:
        run(copy_url, users.TABLE)
        with (
            closing(connection(source_url, cursorclass=pymysql.cursors.SSCursor)) as source,
            source.cursor() as cursor,
            psycopg.connect(copy_url, options="-c timezone=UTC") as copy,
            copy.cursor().copy("COPY users FROM STDIN") as rows,
        ):
            cursor.execute(f"SELECT {', '.join(users.COLUMNS)} FROM users")
            for row in cursor:
                rows.write_row(row)
        return users.checksum(copy_url, "users")


def _by_hand(source_url: str, store_url: str, directory: Path, number: int, wanted: Checksum) -> Result:
    run(store_url, users.TABLE)
    settle(store_url)
    merge = merging(r"csv, NULL '\N'")
    read = f"{sys.executable} -m benchmarks.mariadb_read {source_url}"
    measured = run_measured(
        ["sh", "-c", f"{read} | {merge}"],
        directory=directory,
        environment={"TARGET_URL": store_url, "PYTHONPATH": str(PROJECT), "PGTZ": "UTC"},
        log=directory / "by_hand.log",
    )
    equal = users.checksum(store_url, "users") == wanted
    return Result(peer="reference", round=number, figures=measured.figures(), equal=equal)


def _headrace(source_url: str, store_url: str, directory: Path, number: int, wanted: Checksum) -> Result:
    define(directory, source="mysql", table="users")
    settle(store_url)
    environment = {
        "SHOP_URL": source_url,
        "STORE_URL": store_url,
        "HEADRACE_CONTROL_URL": f"sqlite:///{directory / 'control.db'}",
    }
    measured = sync(directory, environment)
    equal = users.checksum(store_url, "headrace.users") == wanted
    return Result(peer="headrace", round=number, figures=measured.figures(), equal=equal)
