"""A data source or the control database put back from a backup: the next sync ends equal to the source."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
from psycopg import sql

from tests.acceptance.conftest import NewDatabase
from tests.acceptance.project import HEADRACE, Process, Project, execute, query, sqlite_url
from tests.acceptance.small_shop import until

NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"


class Database(Protocol):
    """A database that can be copied and put back while nobody uses it."""

    url: str

    def back_up(self) -> None: ...

    def put_back(self) -> None: ...


@dataclass
class SqliteFile:
    path: Path

    @property
    def url(self) -> str:
        return sqlite_url(self.path)

    @property
    def _backup(self) -> Path:
        return self.path.with_suffix(".backup")

    def back_up(self) -> None:
        shutil.copyfile(self.path, self._backup)

    def put_back(self) -> None:
        for beside in ("-wal", "-shm"):
            self.path.with_name(self.path.name + beside).unlink(missing_ok=True)
        shutil.copyfile(self._backup, self.path)


@dataclass
class PostgresDatabase:
    url: str
    server: str

    def back_up(self) -> None:
        self._copy(self._name, f"{self._name}_backup")

    def put_back(self) -> None:
        self._copy(f"{self._name}_backup", self._name)

    def drop_backup(self) -> None:
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", f"{self._name}_backup")

    @property
    def _name(self) -> str:
        return self.url.rsplit("/", 1)[1]

    def _copy(self, template: str, name: str) -> None:
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        self._run("CREATE DATABASE {} TEMPLATE {}", name, template)

    def _run(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@dataclass
class Restorable:
    """A synced project with its control database and its data source."""

    project: Project
    control: Database
    store: Database
    source_url: str

    def write(self, *statements: str) -> None:
        execute(self.source_url, *statements)

    def sync(self) -> None:
        self.project.headrace("sync")

    def assert_equal(self) -> None:
        table = "headrace.users" if self.store.url.startswith("postgres") else "users"
        records = query(self.store.url, f"SELECT id, name FROM {table} ORDER BY id")
        assert records == query(self.source_url, "SELECT id, name FROM users ORDER BY id")

    def logs_begun_anew(self) -> list[str]:
        reasons = query(self.control.url, "SELECT reason FROM feed_log WHERE reason IS NOT NULL")
        return [reason for (reason,) in reasons]


@pytest.fixture(params=["sqlite", "postgres"])
def restorable(
    request: pytest.FixtureRequest, new_database: NewDatabase, postgres_server: str, tmp_path: Path
) -> Iterator[Restorable]:
    with ExitStack() as stack:
        control: Database
        store: Database
        if request.param == "sqlite":
            control, store = SqliteFile(tmp_path / "control.db"), SqliteFile(tmp_path / "store.db")
        else:
            control = PostgresDatabase(stack.enter_context(new_database()), postgres_server)
            store = PostgresDatabase(stack.enter_context(new_database()), postgres_server)
            stack.callback(control.drop_backup)
            stack.callback(store.drop_backup)
        source_url = sqlite_url(tmp_path / "source.db")
        execute(
            source_url,
            f"CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, updated_at TEXT DEFAULT ({NOW}))",
            *(f"INSERT INTO users (id, name) VALUES ({n}, 'user {n}')" for n in range(1, 51)),
        )
        environment = {"HEADRACE_CONTROL_URL": control.url, "STORE_URL": store.url}
        project = Project.create(
            tmp_path / "project", definitions(request.param, source_url), environment, warm=True
        )
        restorable = Restorable(project, control, store, source_url)
        restorable.sync()
        restorable.assert_equal()
        yield restorable


def definitions(kind: str, source_url: str) -> dict[str, dict[str, object]]:
    return {
        "apps/app": {"name": "App", "type": "sqlite", "url": source_url},
        "schemas/shop": {"name": "Shop"},
        "visibility_groups/all": {"name": "All"},
        "data_sources/main": {
            "nickname": "Main", "schema": "shop", "default_for": ["all"], "type": kind, "url": "${STORE_URL}",
        },
        "models/users": {"name": "Users", "schema": "shop"},
        "sources/users": {
            "name": "Users", "model": "users", "primary": True, "app": "app", "table": "users", "key": ["id"],
            "schedule": {"every": "1m", "cursor": "updated_at", "clock": "database"},
            "properties": {"name": {"type": "string", "column": "name"}},
        },
    }  # fmt: skip


def change(restorable: Restorable, first: int) -> None:
    """A new row, a newer version, and a delete."""
    restorable.write(
        f"INSERT INTO users (id, name) VALUES ({100 + first}, 'new')",
        f"UPDATE users SET name = 'changed', updated_at = {NOW} WHERE id = {first}",
        f"DELETE FROM users WHERE id = {first + 1}",
    )


def test_a_data_source_put_back_from_a_backup_is_filled_again(restorable: Restorable) -> None:
    restorable.store.back_up()
    change(restorable, 1)
    restorable.sync()
    restorable.project.headrace("reconcile", "users")
    restorable.assert_equal()
    restorable.store.put_back()
    change(restorable, 11)
    restorable.sync()
    restorable.assert_equal()
    assert restorable.logs_begun_anew() == ["the store is behind what control marked merged"]


def test_a_control_database_put_back_from_a_backup_reads_again_what_it_forgot(restorable: Restorable) -> None:
    restorable.control.back_up()
    change(restorable, 1)
    restorable.sync()
    restorable.control.put_back()
    change(restorable, 11)
    restorable.sync()
    restorable.assert_equal()
    assert restorable.logs_begun_anew() == ["the store is ahead of the journal"]


def test_headrace_restore_ends_equal_whatever_was_done_since_the_backup(restorable: Restorable) -> None:
    restorable.project.headrace("backup", "b.tar.zst")
    change(restorable, 1)
    restorable.sync()
    restorable.project.headrace("reconcile", "users")
    restorable.assert_equal()
    restorable.project.headrace("restore", "b.tar.zst", exit_code=2)
    change(restorable, 11)
    restorable.project.headrace("restore", "b.tar.zst", "--replace")
    restorable.sync()
    restorable.assert_equal()
    assert restorable.logs_begun_anew() == ["the store is ahead of the journal"]


def test_a_control_database_may_be_restored_into_the_other_kind(
    restorable: Restorable, new_database: NewDatabase, tmp_path: Path
) -> None:
    restorable.project.headrace("backup", "b.tar.zst")
    change(restorable, 1)
    restorable.sync()
    with new_database() as postgres:
        other = (
            sqlite_url(tmp_path / "other.db") if restorable.control.url.startswith("postgres") else postgres
        )
        restorable.project.environment["HEADRACE_CONTROL_URL"] = other
        restorable.project.headrace("restore", "b.tar.zst")
        change(restorable, 11)
        restorable.sync()
        restorable.assert_equal()


def test_a_backup_of_a_busy_installation_restored_under_new_changes_ends_equal(
    restorable: Restorable, tmp_path: Path
) -> None:
    """Taken while rows are read and merged, put back while workers are stopped, writers never."""
    schedule = {"every": "1s", "cursor": "updated_at", "clock": "database"}
    source = definitions("sqlite", restorable.source_url)["sources/users"] | {"schedule": schedule}
    restorable.project.define("sources/users", source)
    with writing(restorable) as written:
        up = started_up(restorable.project)
        try:
            written.wait_for(10)
            restorable.project.headrace("backup", "b.tar.zst")
            written.wait_for(20)
        finally:
            assert up.stop(limit_s=30) == 0
        restorable.project.headrace("restore", "b.tar.zst", "--replace")
        up = started_up(restorable.project)
        try:
            written.wait_for(20)
        finally:
            assert up.stop(limit_s=30) == 0
    restorable.project.headrace("sync", "--reconcile")
    restorable.assert_equal()
    restorable.project.headrace("verify")


def started_up(project: Project) -> Process:
    """It has started: before, SIGTERM is no orderly end."""
    log = project.root / "up.log"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [HEADRACE, "up"],
            cwd=project.root,
            env=project._whole_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    until(lambda: "Following" in log.read_text(), "it did not start")
    return Process("headrace up", "up", log, popen)


class Written:
    """Changes that a writer makes without a pause."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def count(self) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def wait_for(self, more: int) -> None:
        with self._changed:
            target = self._count + more
            assert self._changed.wait_for(lambda: self._count >= target, timeout=60)


@contextmanager
def writing(restorable: Restorable) -> Iterator[Written]:
    written, stop = Written(), threading.Event()

    def write() -> None:
        for n in itertools.count(1000):
            if stop.wait(0.1):
                return
            restorable.write(
                f"INSERT INTO users (id, name) VALUES ({n}, 'written')",
                f"UPDATE users SET name = 'at {n}', updated_at = {NOW} WHERE id = {n % 40 + 1}",
                f"DELETE FROM users WHERE id = {n - 7} AND id % 3 = 0",
            )
            written.count()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield written
    finally:
        stop.set()
        writer.join()
