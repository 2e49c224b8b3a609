"""Acceptance 1: a commit that comes after later rows were read."""

from __future__ import annotations

from tests.acceptance.lossless import scenarios
from tests.acceptance.lossless.conftest import MakeThings
from tests.acceptance.lossless.databases import PostgresDatabase
from tests.acceptance.lossless.things import Database


def test_a_late_commit_is_read(database: Database, read: MakeThings) -> None:
    scenarios.late_commit(database, read(database))


def test_an_open_transaction_does_not_hide_the_late_commits_of_others(
    postgres_things: PostgresDatabase, read: MakeThings
) -> None:
    postgres_things.make()
    things = read(postgres_things)
    with postgres_things.session() as idle:
        idle.run("BEGIN")
        idle.run("SELECT 1")
        scenarios.late_commit(postgres_things, things)
