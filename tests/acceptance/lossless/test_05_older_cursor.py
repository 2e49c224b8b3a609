"""Acceptance 5: a newer version with an older updated_at wins."""

from __future__ import annotations

import pytest

from tests.acceptance.lossless.conftest import MakeThings
from tests.acceptance.lossless.databases import PostgresDatabase


@pytest.mark.parametrize("polled_between", [True, False])
def test_the_version_that_was_committed_last_wins_whatever_its_cursor(
    postgres_things: PostgresDatabase, read: MakeThings, polled_between: bool
) -> None:
    postgres_things.make()
    things = read(postgres_things)
    with postgres_things.session() as earlier, postgres_things.session() as later:
        later.insert(1, "first")
        things.poll()
        earlier.begin()
        earlier.run("SELECT now()")  # its updates are dated from here
        later.rename(1, "second")
        if polled_between:
            things.poll()
            assert things.names() == {1: "second"}
        earlier.rename(1, "third")
        earlier.commit()
        (went_back,) = later.run("SELECT updated_at < clock_timestamp() - interval '0' FROM things")[0]
        assert went_back
        things.poll()
        assert things.names() == {1: "third"}
