"""A declared skew: applications set the cursor by clocks that are off, within what they declare."""

from __future__ import annotations

from tests.acceptance.lossless.conftest import MakeThings
from tests.acceptance.lossless.databases import PostgresDatabase
from tests.acceptance.lossless.things import Database

SKEW_S = 60


def test_rows_of_clocks_that_are_off_are_read_within_the_declared_skew(
    database: Database, read: MakeThings
) -> None:
    things = read(database, clock={"skew": f"{SKEW_S}s"})
    with database.session() as session:
        for id_, off_s in enumerate([0, 50, -50, 55, -55, 20, -20, 0], 1):
            session.insert(100 - id_, "off", database.now_off(off_s))
            things.poll()
            things.poll()
            assert things.names() == session.names(), off_s
        assert things.feed_class()[0] == "bounded"
        assert f"within {SKEW_S // 60}m of" in things.feed_class()[1]


def test_a_late_commit_of_a_clock_that_is_behind_is_read(
    postgres_things: PostgresDatabase, read: MakeThings
) -> None:
    postgres_things.make()
    things = read(postgres_things, clock={"skew": f"{SKEW_S}s"})
    with postgres_things.session() as late, postgres_things.session() as session:
        session.insert(1, "first")
        late.begin()
        late.insert(2, "late", postgres_things.now_off(-55))
        session.insert(3, "ahead", postgres_things.now_off(55))
        things.poll()
        assert things.names() == session.names()
        late.commit()
        things.poll()
        assert things.names() == session.names()
