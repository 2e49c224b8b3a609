"""Acceptance 11: an UPDATE that leaves updated_at (clock undeclared) is repaired within reconcile_every."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.acceptance.lossless.conftest import MakeThings
from tests.acceptance.lossless.databases import TABLE
from tests.acceptance.lossless.things import Database, Things
from tests.acceptance.project import HEADRACE
from tests.integration.waiting import until

REPAIRED_WITHIN_S = 30.0
"""The second of `reconcile_every`, and what a busy machine needs to start a process."""


def test_a_silent_update_is_repaired_by_the_reconciliation_that_falls_due(
    database: Database, read: MakeThings
) -> None:
    things = with_two(read(database, clock=None, every="1s"), database)
    assert things.feed_class()[0] == "eventual"
    with database.session() as session:
        session.run(f"UPDATE {TABLE} SET name = 'silent' WHERE id = 1")
        things.poll()
        assert things.names()[1] == "one", "no poll can see it"
        make_due(things)
        things.poll()
        assert things.names() == session.names()


def test_running_schedules_repair_silent_updates_and_deletes(database: Database, read: MakeThings) -> None:
    """The scheduler, the fetch and the merge worker of `headrace up`: nobody asks for anything."""
    things = with_two(read(database, clock=None, every="1s", reconcile_every="1s"), database)
    with database.session() as session, running(things):
        for number in range(2):
            session.run(f"UPDATE {TABLE} SET name = 'silent {number}' WHERE id = 1")
            until(lambda: things.names() == session.names(), REPAIRED_WITHIN_S)
        session.run(f"DELETE FROM {TABLE} WHERE id = 2")
        until(lambda: things.names() == session.names(), REPAIRED_WITHIN_S)


def with_two(things: Things, database: Database) -> Things:
    """Two rows, both read; the later one so that the other is behind the lead."""
    with database.session() as session:
        session.insert(1, "one", at="'2026-01-01 00:00:00'")
        session.insert(2, "two", at="'2026-01-02 00:00:00'")
    things.poll()
    assert things.names() == {1: "one", 2: "two"}
    return things


def make_due(things: Things) -> None:
    """`reconcile_every` has passed since the last full reconciliation."""
    with closing(sqlite3.connect(things.project.root / "control.db")) as control, control:
        control.execute("UPDATE feed SET reconcile_due_at = '2000-01-01T00:00:00.000Z'")


@contextmanager
def running(things: Things) -> Iterator[None]:
    """`headrace up` runs."""
    environment = {**things.project._whole_environment(), "HEADRACE_METRICS_PORT": "0"}
    up = subprocess.Popen(
        [HEADRACE, "up"],
        cwd=things.project.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
        assert up.poll() is None, "it ended by itself"
    finally:
        up.terminate()
        try:
            up.wait(timeout=30)
        finally:
            up.kill()
            up.wait()
