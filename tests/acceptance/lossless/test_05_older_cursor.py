"""Acceptance 5: a newer version with an older updated_at wins."""

from __future__ import annotations

import threading
import time

import pytest

from tests.acceptance.lossless.conftest import MakeThings
from tests.acceptance.lossless.databases import MysqlDatabase, PostgresDatabase


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


def test_the_version_that_waited_for_a_lock_wins_over_the_one_it_waited_for(
    mysql_things: MysqlDatabase, read: MakeThings
) -> None:
    """In MySQL a statement is dated from when it began, before it waited."""
    mysql_things.make()
    things = read(mysql_things)
    with mysql_things.session() as waiting, mysql_things.session() as other, mysql_things.session() as watch:
        other.insert(1, "first")
        things.poll()
        other.begin()
        other.run("SELECT * FROM things WHERE id = 1 FOR UPDATE")
        thread = threading.Thread(target=waiting.rename, args=(1, "third"))
        thread.start()
        while not watch.run("SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"):
            time.sleep(0.1)  # InnoDB shows nothing new to whoever asks more often
        other.rename(1, "second")
        ((second,),) = other.run("SELECT updated_at FROM things")
        things.poll()
        other.commit()
        thread.join()
        ((third,),) = watch.run("SELECT updated_at FROM things")
        assert third < second
        things.poll()
        assert things.names() == {1: "third"}
