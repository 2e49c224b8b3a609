"""Acceptance 10: hard delete, key change, delete and reinsert during a scan; a scan that finds nothing, or
much too little, deletes nothing and alarms."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from tests.acceptance.lossless.conftest import MakeThings
from tests.acceptance.lossless.databases import TABLE, PostgresDatabase
from tests.acceptance.lossless.things import Database, Things
from tests.servers import PostgresCluster

ROWS = 40
PAGE_ROWS = 2
"""So small that a scan has several chunks."""
MANY = 150
"""More than the breaker lets go at once."""
ROLE = "reader_of_some"


@pytest.fixture
def things(database: Database, read: MakeThings) -> Things:
    """Forty of them, all read and merged."""
    with database.session() as session:
        session.begin()
        for id_ in range(1, ROWS + 1):
            session.insert(id_, f"thing {id_}")
        session.commit()
    things = read(database, page_rows=PAGE_ROWS)
    things.poll()
    assert len(things.names()) == ROWS
    return things


def held(things: Things) -> int:
    """Rows that `headrace status` alarms about."""
    (status,) = json.loads(things.project.headrace("status", "--json"))
    return int(status["held"])


def test_a_row_that_was_deleted_goes_and_a_changed_key_moves(things: Things) -> None:
    with things.database.session() as session:
        session.run(f"DELETE FROM {TABLE} WHERE id = 7")
        session.run(f"UPDATE {TABLE} SET id = 700 WHERE id = 8")  # no poll sees it: the cursor stays
        things.poll()
        things.reconcile(full=False)
        things.poll()  # a key that the store lacked is fetched
        assert things.names() == session.names()
    assert {7, 8} & things.names().keys() == set()
    assert things.names()[700] == "thing 8"


@pytest.mark.parametrize("full", [False, True])
def test_a_row_that_comes_back_during_a_scan_is_there_as_it_is_last(things: Things, full: bool) -> None:
    """Before the scan, behind it and ahead of it: wherever the scan is when a row goes or comes back."""
    with things.database.session() as session:
        session.run(f"DELETE FROM {TABLE} WHERE id IN (2, 39)")

        def change(chunk: int) -> None:
            if chunk == 1:
                session.insert(2, "back behind the scan")
                session.run(f"DELETE FROM {TABLE} WHERE id IN (3, 38)")
                session.insert(39, "back ahead of the scan")
            if chunk == 2:
                session.insert(3, "gone behind the scan, and back")
                session.insert(38, "gone ahead of the scan, and back")
                session.run(f"DELETE FROM {TABLE} WHERE id IN (1, 40)")

        after_each_chunk(things, change)
        scan(things, full=full)
        things.poll()
        left = session.names()
        # What went behind the scan is the next one's.
        assert things.names() == {**left, 1: "thing 1"}
        scan(things, full=full)
        assert things.names() == session.names()


def scan(things: Things, *, full: bool) -> None:
    """As `reconcile`, which many small chunks may interrupt until they are merged."""
    things.app.commands.request_reconcile(TABLE, full=full, confirm=False)
    feed = things.app.status.feed_status()[0].feed_id
    complete = False
    while not complete:
        report = things.app.poll(feed)
        assert report.error is None, report.error
        complete = report.complete
        for target in things.app.targets():
            things.app.merge(*target)


def after_each_chunk(things: Things, told: Callable[[int], None]) -> None:
    """`told` is called with the number of each chunk once it is journalled, from one."""
    feeds, chunks = things.app.feeds, []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(feeds, name)

        def append(self, lease: Any, entry: Any, **kwargs: Any) -> Any:
            written = feeds.append(lease, entry, **kwargs)
            if any(batch.kind == "keys" for batch in entry.batches):
                chunks.append(entry)
                told(len(chunks))
            return written

    things.app._fetch = replace(things.app._fetch, feeds=Watched())  # type: ignore[arg-type]


def test_a_scan_that_finds_nothing_deletes_nothing_and_alarms_until_confirmed(things: Things) -> None:
    before = things.names()
    with things.database.session() as session:
        session.run(f"DELETE FROM {TABLE}")
    things.reconcile(full=False)
    assert (things.names(), held(things)) == (before, ROWS)

    things.project.headrace("reconcile", "things", "--confirm")
    assert (things.names(), held(things)) == ({}, 0)


def test_a_scan_that_finds_much_too_little_deletes_nothing_and_alarms(
    database: Database, read: MakeThings
) -> None:
    """As by a filter in a view: the rows come back, and the next scan ends the alarm by itself."""
    with database.session() as session:
        fill(session, 2 * MANY)
        things = read(database)
        things.poll()
        before = things.names()
        session.run(f"DELETE FROM {TABLE} WHERE id <= {MANY}")
        things.reconcile(full=False)
        assert (things.names(), held(things)) == (before, MANY)

        for id_ in range(1, MANY + 1):
            session.insert(id_, f"thing {id_}")
        things.reconcile(full=False)
        assert (things.names(), held(things)) == (session.names(), 0)


def fill(session: Any, rows: int) -> None:
    session.begin()
    for id_ in range(1, rows + 1):
        session.insert(id_, f"thing {id_}")
    session.commit()


@pytest.fixture
def read_by_a_role(restartable: PostgresDatabase, cluster: PostgresCluster) -> Iterator[PostgresDatabase]:
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {ROLE} LOGIN")
    database = replace(restartable, role=ROLE)
    database.make()
    yield database
    with psycopg.connect(restartable.url, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {ROLE}")
        connection.execute(f"DROP ROLE {ROLE}")


@pytest.mark.parametrize("visible", ["false", f"id > {MANY}"])
def test_row_security_that_hides_rows_deletes_none(
    read_by_a_role: PostgresDatabase, read: MakeThings, visible: str
) -> None:
    with read_by_a_role.session() as session:
        fill(session, 2 * MANY)
        things = read(read_by_a_role)
        things.poll()
        before = things.names()
        session.run(f"CREATE POLICY visible ON {TABLE} FOR SELECT USING ({visible})")
        session.run(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
        things.reconcile(full=False)
        assert things.names() == before
        assert held(things) == (2 * MANY if visible == "false" else MANY)
