"""What loses rows where a watermark is naive, as steps against a source and its feed."""

from __future__ import annotations

from collections.abc import Callable

from tests.acceptance.lossless.databases import Session
from tests.acceptance.lossless.things import Database, Things


def overtake(other: Session, things: Things, id_: int) -> None:
    """Another transaction commits a row now, where the database lets two write at a time; it is read."""
    if things.database.writers is None:
        other.insert(id_, "overtakes")
    things.poll()
    if things.database.writers is None:
        assert id_ in things.names(), "a long transaction never costs freshness"


def late_commit(database: Database, things: Things) -> None:
    """A row is committed after later ones were read; so is one of a second transaction, while a third
    stays open."""
    with database.session() as late, database.session() as other:
        other.insert(1, "first")
        things.poll()
        late.begin()
        late.insert(2, "late")
        overtake(other, things, 3)
        assert 2 not in things.names()
        late.commit()
        things.poll()
        assert things.names() == other.names()
        assert things.names()[2] == "late"


def select_then_insert(database: Database, things: Things) -> None:
    """A transaction has only read when the feed is polled, and then inserts."""
    with database.session() as late, database.session() as other:
        other.insert(1, "first")
        things.poll()
        late.run("BEGIN")
        late.run("SELECT count(*) FROM things")
        overtake(other, things, 3)
        late.insert(2, "late")
        late.commit()
        things.poll()
        assert things.names() == other.names()


def prepared(database: Database, things: Things, restart: Callable[[], None]) -> None:
    """A prepared transaction outlives the server, and commits after later rows were read."""
    with database.session() as late, database.session() as other:
        other.insert(1, "first")
        things.poll()
        late.begin_two_phases("late")
        late.insert(2, "prepared")
        late.prepare("late")
        overtake(other, things, 3)
    restart()
    things.find_the_server_gone()
    with database.session() as other:
        overtake(other, things, 4)
        overtake(other, things, 5)
        other.commit_prepared("late")
        things.poll()
        assert things.names() == other.names()
        assert things.names()[2] == "prepared"
