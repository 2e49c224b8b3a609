"""Acceptance 9: the clock goes back 60 s, and an hour that comes twice on a naive column."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from headrace.sources import sqlite_fence
from tests.acceptance.lossless.conftest import MakeThings, database_in, mysql_database_in
from tests.acceptance.lossless.databases import PostgresDatabase, SqliteDatabase
from tests.acceptance.lossless.faked_clock import FakedClock, faked_clock
from tests.acceptance.lossless.things import Database
from tests.servers import MariadbServer, PostgresCluster, mariadb_server, postgres_cluster

BERLIN = "-c timezone=Europe/Berlin"


@pytest.fixture(scope="module")
def clock() -> Iterator[FakedClock]:
    with faked_clock() as clock:
        yield clock


@pytest.fixture(scope="module")
def clocked_server(clock: FakedClock) -> Iterator[PostgresCluster]:
    with postgres_cluster(environment=clock.environment) as server:
        yield server


@pytest.fixture(scope="module")
def clocked_mariadb(clock: FakedClock) -> Iterator[MariadbServer]:
    with mariadb_server(environment=clock.environment) as server:
        yield server


@pytest.fixture
def clocked(clocked_server: PostgresCluster, clock: FakedClock) -> Iterator[PostgresDatabase]:
    """A database whose server's clock is right, until it is set."""
    clock.set_off(0)
    with database_in(clocked_server) as database:
        yield database


@pytest.fixture(params=["postgres", "mysql"])
def any_clocked(request: pytest.FixtureRequest, clock: FakedClock) -> Iterator[Database]:
    """The same of MariaDB too."""
    if request.param == "postgres":
        yield request.getfixturevalue("clocked")
        return
    clock.set_off(0)
    with mysql_database_in(request.getfixturevalue("clocked_mariadb")) as database:
        database.make()
        yield database


@pytest.mark.parametrize("other_worker", [False, True])
def test_rows_written_after_the_clock_was_set_back_are_read(
    any_clocked: Database, clock: FakedClock, read: MakeThings, other_worker: bool
) -> None:
    clocked = any_clocked
    things = read(clocked)
    with clocked.session() as session:
        session.insert(1, "before")
        for _ in range(2):  # the second one finds the fence beyond the row
            things.poll()
        clock.set_off(-60)
        if other_worker:
            things.restart()
        session.insert(2, "after")
        things.poll()
        assert things.names() == session.names()
        session.insert(3, "later")
        session.rename(1, "after too")
        things.poll()
        assert things.names() == session.names()
        clock.set_off(0)
        session.insert(4, "right again")
        things.poll()
        assert things.names() == session.names()


def test_a_sqlite_clock_that_was_set_back_loses_no_row(
    sqlite_things: SqliteDatabase, read: MakeThings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's clock is that of the process which asks, so it is set here where it is asked."""
    sqlite_things.make()
    things, shown = read(sqlite_things), sqlite_fence._now
    with sqlite_things.session() as session:
        for id_, off_s in enumerate([0, -60, -50, 0], 1):
            off = timedelta(seconds=off_s)
            monkeypatch.setattr(sqlite_fence, "_now", lambda connection, off=off: shown(connection) + off)
            session.insert(id_, "dated", sqlite_things.now_off(off_s))
            things.poll()
            assert things.names() == session.names(), off_s


def test_a_transaction_that_began_before_the_clock_was_set_back_is_read(
    any_clocked: Database, clock: FakedClock, read: MakeThings
) -> None:
    clocked = any_clocked
    things = read(clocked)
    with clocked.session() as late, clocked.session() as session:
        session.insert(1, "before")
        late.begin()
        late.insert(2, "late")
        things.poll()
        clock.set_off(-60)
        session.insert(3, "after")
        things.poll()
        late.insert(4, "late too")
        late.commit()
        things.poll()
        assert things.names() == session.names()


def test_the_hour_that_comes_twice_is_read_twice(
    clocked: PostgresDatabase, clock: FakedClock, read: MakeThings
) -> None:
    """At 01:00 UTC of 25 October, 03:00 summer time becomes 02:00 winter time."""
    clocked.make("timestamp(0)")
    clock.set_to("2026-10-25 00:10:00")
    things = read(clocked, time_zone="Europe/Berlin")
    minutes = ("00:10", "00:30", "00:59", "01:00", "01:10", "01:31", "01:59", "02:10", "03:59", "04:10")
    with clocked.session(BERLIN) as session:
        for id_, minute in enumerate(minutes):
            clock.set_to(f"2026-10-25 {minute}:05")
            session.insert(100 - id_, minute)
            things.poll()
            assert things.names() == session.names(), minute
        dates = [at for (at,) in session.run("SELECT updated_at FROM things ORDER BY id DESC")]
        assert dates != sorted(dates)
        before = things.journalled()
        things.poll()
        assert things.journalled() == before
