"""Acceptance 8: rows dated 2099, NULL and 1970: all synced, later rows still flow."""

from __future__ import annotations

from tests.acceptance.lossless.conftest import MakeThings
from tests.acceptance.lossless.databases import PostgresDatabase
from tests.acceptance.lossless.things import Database

FUTURE, PAST = "'2099-12-31 23:59:59.000'", "'1970-01-01 00:00:00.000'"


def test_rows_of_any_date_are_read_and_later_ones_still_flow(database: Database, read: MakeThings) -> None:
    things = read(database)
    with database.session() as session:
        session.insert(1, "future", FUTURE)
        session.insert(2, "none", "NULL")
        session.insert(3, "past", PAST)
        session.insert(4, "now")
        things.poll()
        assert things.names() == session.names()
        for id_, (name, at) in enumerate([("later", None), ("future", FUTURE), ("none", "NULL")], 10):
            session.insert(id_, name, at)
            things.poll()
            session.insert(id_ + 10, "flows")
            things.poll()
            assert things.names() == session.names()
        session.run("UPDATE things SET name = 'still none' WHERE id = 2")
        session.rename(1, "no longer future")
        things.poll()
        assert things.names() == session.names()
        before = things.journalled()
        things.poll()
        assert things.journalled() == before


def test_a_row_dated_before_the_watermark_is_found_by_a_full_reconciliation(
    database: Database, read: MakeThings
) -> None:
    things = read(database)
    with database.session() as session:
        session.insert(1, "now")
        things.poll()
        session.insert(2, "past", PAST)
        things.poll()
        things.reconcile(full=True)
        assert things.names() == session.names()


def test_infinite_dates_are_read_and_later_ones_still_flow(
    postgres_things: PostgresDatabase, read: MakeThings
) -> None:
    postgres_things.make()
    things = read(postgres_things)
    with postgres_things.session() as session:
        session.insert(1, "first", "'-infinity'")
        session.insert(2, "last", "'infinity'")
        session.insert(3, "now")
        things.poll()
        assert things.names() == session.names()
        session.insert(4, "first too", "'-infinity'")
        session.insert(5, "last too", "'infinity'")
        session.insert(6, "now too")
        things.poll()
        assert things.names() == session.names()
        before = things.journalled()
        things.poll()
        assert things.journalled() == before
