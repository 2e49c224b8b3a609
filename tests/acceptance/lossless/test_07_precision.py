"""Acceptance 7: microsecond, millisecond and second columns, rounding up."""

from __future__ import annotations

import pytest

from tests.acceptance.lossless.conftest import MakeThings
from tests.acceptance.lossless.things import Database

ROUNDS = 12


@pytest.mark.parametrize("precision", ["microsecond", "millisecond", "second"])
def test_no_row_is_lost_at_any_precision_and_an_idle_poll_journals_nothing(
    database: Database, read: MakeThings, precision: str
) -> None:
    """Rows of one value of the cursor come before, between and after polls, their keys in no order."""
    if precision not in database.precisions:
        pytest.skip(f"{database.type} has no clock of this precision")
    database.make(database.precisions[precision])
    things = read(database)
    with database.session() as session:
        for round_ in range(ROUNDS):
            for key in (500, 100 + round_, 900 - round_):
                session.insert(round_ * 10_000 + key, f"{round_}", database.now_in(precision))
                things.poll()
            session.rename(round_ * 10_000 + 500, "renamed", database.now_in(precision))
        things.poll()
        assert things.names() == session.names()
        before = things.journalled()
        for _ in range(3):
            things.poll()
        assert things.journalled() == before


def test_a_cursor_that_was_rounded_up_is_ahead_of_the_clock_and_read_all_the_same(
    database: Database, read: MakeThings
) -> None:
    """Where the database cuts instead, the application rounds."""
    database.make(database.precisions["second"])
    things = read(database)
    with database.session() as session:
        for id_ in range(1, 5):
            session.insert(id_, "rounded", database.next_second)
            things.poll()
        assert things.names() == session.names()
        session.insert(0, "lower", database.next_second)
        things.poll()
        assert things.names() == session.names()
