"""A poll of a source that has not changed reads nothing, and misses nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace.sources import sqlite_fence
from headrace.sources.sqlite import SqliteReader
from tests.integration.world import ACCOUNTS, USERS, Seen

T0, T1 = "2024-01-01 00:00:00.000", "2024-01-01 00:00:01.000"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The selections that were read."""
    read, selections = SqliteReader.read, []

    def told(reader: SqliteReader, plan: Any, selection: Any) -> Any:
        selections.append(selection)
        return read(reader, plan, selection)

    monkeypatch.setattr(SqliteReader, "read", told)
    return selections


def poll(world: Seen, source_id: str, reads: list[Any]) -> int:
    """How many selections a poll reads."""
    reads.clear()
    assert world.app.poll(world.feed(source_id)).error is None
    return len(reads)


@pytest.mark.parametrize("source_id", [USERS, ACCOUNTS])
def test_nothing_is_read_of_a_source_that_has_not_changed(
    world: Seen, reads: list[Any], source_id: str
) -> None:
    world.user(1, "a", T0)
    world.account(1, "a")
    assert poll(world, source_id, reads) > 0
    assert poll(world, source_id, reads) == 0
    world.user(1, "b", T1)
    assert poll(world, source_id, reads) > 0
    assert poll(world, source_id, reads) == 0


def test_what_is_asked_of_a_feed_at_rest_is_done(world: Seen, reads: list[Any]) -> None:
    world.user(1, "a", T0)
    poll(world, USERS, reads)
    world.app.commands.request_reconcile(USERS, full=True, confirm=False)
    assert poll(world, USERS, reads) > 0
    assert poll(world, USERS, reads) == 0
    world.app.journal.request_keys(world.feed(USERS), [("1",)])
    assert poll(world, USERS, reads) == 1
    assert poll(world, USERS, reads) == 0


def test_another_process_reads_what_this_one_has_read(world: Seen, reads: list[Any]) -> None:
    world.user(1, "a", T0)
    poll(world, USERS, reads)
    world.restart()
    assert poll(world, USERS, reads) > 0


def test_what_changes_while_a_source_is_polled_is_looked_at_again(world: Seen, reads: list[Any]) -> None:
    world.user(1, "a", T0)
    world.app.journal.request_keys(world.feed(USERS), [("1",)])
    world.watch(lambda name, args: world.user(2, "late", T0) if name == "key_requests" else None)
    poll(world, USERS, reads)
    assert poll(world, USERS, reads) > 0


class Watch:
    """A clock that a test sets: every question takes `tick_s`."""

    def __init__(self) -> None:
        self.at, self.steady, self.tick_s = datetime.now(UTC), 0.0, 0.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        self.steady += self.tick_s
        return self.steady


def test_a_feed_that_has_put_ties_off_is_not_at_rest(world: Seen, reads: list[Any]) -> None:
    watch = Watch()
    world.app._fetch = replace(world.app._fetch, clock=watch)
    newest = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
    world.user(5, "first", newest)
    poll(world, USERS, reads)
    world.user(9, "tie", newest)
    watch.tick_s = 60.0
    poll(world, USERS, reads)
    watch.tick_s = 0.0
    world.user(1, "lower", newest)
    poll(world, USERS, reads)
    world.merge()
    assert ("e", 1) not in world.user_names(), "the last re-read is not paid for yet"
    watch.at += timedelta(hours=1)
    poll(world, USERS, reads)
    world.merge()
    assert world.user_names() == {("e", 1): "lower", ("e", 5): "first", ("e", 9): "tie"}
    assert poll(world, USERS, reads) == 0


def test_a_feed_with_many_rows_ahead_of_the_clock_is_not_at_rest(
    world: Seen, reads: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = world.app._fetch
    world.app._fetch = replace(fetch, limits=replace(fetch.limits, lane_rows=1))
    clock = [datetime(2024, 1, 1, tzinfo=UTC)]
    monkeypatch.setattr(sqlite_fence, "_now", lambda _connection: clock[0])
    while not world.poll(USERS).complete:
        world.merge()
    for id_ in (1, 2, 3):
        world.user(id_, "ahead", T1)
    poll(world, USERS, reads)
    clock[0] += timedelta(seconds=2)
    assert poll(world, USERS, reads) > 0
    world.merge()
    assert world.user_names() == {("e", id_): "ahead" for id_ in (1, 2, 3)}
