"""A source that was restored, recreated or failed over is compared in full; nothing else makes it so."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from headrace.metrics import REGISTRY
from tests.acceptance.project import query, sqlite_url
from tests.integration.shop import ORDERS, USERS, Shop
from tests.integration.waiting import until
from tests.servers import postgres_cluster


def found_restored(source_id: str = USERS) -> float:
    return REGISTRY.get_sample_value("headrace_sources_restored_total", {"source": source_id}) or 0.0


@contextmanager
def comparing(shop: Shop, *, times: int) -> Iterator[None]:
    """In the block each feed finds its source restored so often, and ends equal to it."""
    before = found_restored(USERS), found_restored(ORDERS)
    yield
    assert (found_restored(USERS), found_restored(ORDERS)) == (before[0] + times, before[1] + times)
    assert shop.status(USERS).source_notes == ()
    shop.assert_equal()


def go_on(shop: Shop) -> None:
    """What a shop does between its backup and its end: rows that come, change and go."""
    shop.add(25)
    shop.rename(1, "after the backup")
    shop.execute("DELETE FROM orders WHERE id = 2")
    shop.sync()
    assert shop.records()[0][1] == "after the backup"


def drop(server: str, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def copy(server: str, name: str, template: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        statement = "CREATE DATABASE {} TEMPLATE {}"
        connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(template)))


@pytest.fixture
def backed_up(
    postgres_server: str, postgres_database: str
) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Takes a copy of the PostgreSQL database, and puts it in its place."""
    name = postgres_database.rsplit("/", 1)[1]
    backup = f"{name}_backup"

    def restore() -> None:
        drop(postgres_server, name)
        copy(postgres_server, name, backup)

    yield lambda: copy(postgres_server, backup, name), restore
    drop(postgres_server, backup)


def test_a_postgres_database_made_anew_from_a_backup_is_compared_in_full(
    postgres_database: str, backed_up: tuple[Callable[[], None], Callable[[], None]], tmp_path: Path
) -> None:
    back_up, restore = backed_up
    with Shop.opened("postgres", postgres_database, tmp_path / "shop", users=20) as shop:
        shop.app.readers.close()
        back_up()
        go_on(shop)
        shop.app.close()
        restore()
        shop.add(30)
        shop.restart()
        with comparing(shop, times=1):
            shop.sync()
        shop.rename(2, "goes on")
        shop.sync()
        shop.assert_equal()


def test_a_table_made_anew_is_compared_in_full(postgres_database: str, tmp_path: Path) -> None:
    with Shop.opened("postgres", postgres_database, tmp_path / "shop") as shop:
        shop.execute(
            "CREATE TABLE anew (LIKE users INCLUDING ALL)",
            "INSERT INTO anew SELECT id, 'swapped', age, extra, updated_at FROM users",
            "DROP TABLE users",
            "ALTER TABLE anew RENAME TO users",
        )
        before = found_restored(ORDERS)
        shop.sync()
        shop.assert_equal()
        assert found_restored(ORDERS) == before


def test_a_query_over_a_table_made_anew_is_compared_in_full(postgres_database: str, tmp_path: Path) -> None:
    with Shop.opened("postgres", postgres_database, tmp_path / "shop") as shop:
        shop.execute(
            "CREATE VIEW grown AS SELECT * FROM users",
            "CREATE TABLE parted (id integer, at date) PARTITION BY RANGE (at)",
            "CREATE TABLE part PARTITION OF parted FOR VALUES FROM ('2000-01-01') TO ('2100-01-01')",
        )
        body = shop.definition("sources/users")
        del body["table"]
        query = "SELECT id, name, age, updated_at FROM grown WHERE id NOT IN (SELECT id FROM parted)"
        shop.define("sources/users", body | {"query": query})
        shop.apply()
        with comparing(shop, times=0):
            shop.sync()
            shop.execute("DROP TABLE part", "CREATE TABLE part (LIKE parted)")
            shop.execute("ALTER TABLE parted ATTACH PARTITION part DEFAULT")
            shop.sync()
        before = found_restored()
        shop.execute(
            "CREATE TABLE anew (LIKE users INCLUDING ALL)",
            "INSERT INTO anew SELECT id, 'swapped', age, extra, updated_at FROM users",
            "DROP VIEW grown",
            "DROP TABLE users",
            "ALTER TABLE anew RENAME TO users",
            "CREATE VIEW grown AS SELECT * FROM users",
        )
        shop.sync()
        assert found_restored() == before + 1
        shop.assert_equal()


def test_a_mysql_dump_put_back_is_compared_in_full(mysql_database: str, tmp_path: Path) -> None:
    """DROP, CREATE and INSERT, while the log goes on: as mysqldump writes it."""
    with Shop.opened("mysql", mysql_database, tmp_path / "shop", users=20) as shop:
        for table in (USERS, ORDERS):
            shop.execute(f"CREATE TABLE dumped_{table} LIKE {table}")
            shop.execute(f"INSERT INTO dumped_{table} SELECT * FROM {table}")
        go_on(shop)
        for table in (USERS, ORDERS):
            shop.execute(f"DROP TABLE {table}", f"CREATE TABLE {table} LIKE dumped_{table}")
            shop.execute(f"INSERT INTO {table} SELECT * FROM dumped_{table}")
        shop.add(30)
        with comparing(shop, times=1):
            shop.sync()
            shop.restart()
            shop.sync()
        shop.rename(2, "goes on")
        shop.sync()
        shop.assert_equal()


@pytest.mark.parametrize("put_back", [shutil.copyfile, shutil.move])
def test_an_older_sqlite_file_put_back_is_compared_in_full(
    put_back: Callable[[Path, Path], object], tmp_path: Path
) -> None:
    file, backup = tmp_path / "source.db", tmp_path / "backup.db"
    with Shop.opened("sqlite", sqlite_url(file), tmp_path / "shop", users=20) as shop:
        shutil.copyfile(file, backup)
        go_on(shop)
        shop.app.close()
        put_back(backup, file)
        shop.restart()
        with comparing(shop, times=1):
            shop.sync()
        shop.add(30)
        shop.sync()
        shop.assert_equal()


def test_a_reader_that_dies_leaves_the_comparison_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, backup = tmp_path / "source.db", tmp_path / "backup.db"
    with Shop.opened("sqlite", sqlite_url(file), tmp_path / "shop", users=20) as shop:
        shutil.copyfile(file, backup)
        go_on(shop)
        shutil.copyfile(backup, file)
        shop.restart()
        with monkeypatch.context() as patch:
            patch.setattr(shop.app.stopping, "is_set", lambda: found_restored() > seen)
            seen = found_restored()
            shop.app.poll(shop.feed(USERS))
        (note,) = shop.status(USERS).source_notes
        assert note.startswith(
            "the source was restored or altered, and is compared in full: the database went back"
        )
        shop.restart()
        shop.sync()
        assert found_restored() == seen + 1
        shop.assert_equal()


def test_upkeep_of_a_database_is_no_restore(tmp_path: Path, postgres_database: str) -> None:
    file = tmp_path / "source.db"
    upkeep = {
        "sqlite": ("VACUUM", "PRAGMA journal_mode = WAL", "VACUUM", "ANALYZE"),
        "postgres": (
            "VACUUM FULL users",
            "REINDEX TABLE users",
            "CHECKPOINT",
            "CLUSTER users USING users_pkey",
        ),
    }
    for kind, url in (("postgres", postgres_database), ("sqlite", sqlite_url(file))):
        with Shop.opened(kind, url, tmp_path / kind) as shop, comparing(shop, times=0):
            for statement in upkeep[kind]:
                run_alone(url, statement)
                shop.sync()
                shop.restart()
            shop.add(9)
            shop.sync()
            shop.rename(9, "nine")
            shop.sync()


def run_alone(url: str, statement: str) -> None:
    """Outside of a transaction."""
    if url.startswith("postgres"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)
        return
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute(statement)
    connection.close()


def test_a_cluster_put_back_or_recovered_is_compared_in_full_and_a_restarted_one_is_not(
    tmp_path: Path,
) -> None:
    with postgres_cluster({"restore_command": "/bin/false"}) as cluster:
        data, backup = cluster.directory / "data", cluster.directory / "backup"

        def put_back() -> None:
            cluster.stop_fast()
            shutil.rmtree(data)
            shutil.move(backup, data)

        def back_up() -> None:
            cluster.stop_fast()
            shutil.copytree(data, backup)
            owned_as(data, backup)
            cluster.start()

        with Shop.opened("postgres", cluster.url, tmp_path / "shop", users=20) as shop:
            with comparing(shop, times=0):
                back_up()
                shop.restart()
                shop.add(24)
                shop.sync()
                cluster.restart()
                shop.restart()
                shop.sync()
            go_on(shop)
            put_back()
            cluster.start()
            shop.restart()
            with comparing(shop, times=1):
                shop.sync()
            back_up()
            shop.restart()
            shop.add(40)
            shop.sync()
            put_back()
            (data / "recovery.signal").touch()
            owned_as(data / "PG_VERSION", data / "recovery.signal")
            cluster.start()
            until(lambda: query(cluster.url, "SELECT pg_is_in_recovery()") == [(False,)])
            shop.restart()
            shop.add(41)
            with comparing(shop, times=1):
                shop.sync()


def owned_as(example: Path, path: Path) -> None:
    """The path, and what is below it, belongs to the owner of the example."""
    owner = example.stat()
    for place in (path, *path.rglob("*")):
        os.chown(place, owner.st_uid, owner.st_gid)
