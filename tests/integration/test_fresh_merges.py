"""The little that a fetch worker has journalled it merges itself; all else, and what fails, is nudged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.errors import StoreUnavailableError
from headrace.ports import MergeSoon, merges_nothing
from headrace.settings import Settings
from headrace.steps import feed_writer
from tests.integration.waiting import SOON_S, until
from tests.integration.world import PURCHASES, USERS, Seen
from tests.properties.history import NOW, REFUSE, Nudges
from workers.fresh import FreshMerges, merging_fresh

T1, T2, T3 = (f"2024-01-01 00:00:0{n}.000" for n in (1, 2, 3))
EAST, WEST, MODEL = DataSourceId("east"), DataSourceId("west"), ModelId("users")


@pytest.fixture
def world(world: Seen) -> Seen:
    """Its first rows are merged, and its polls merge what they journal."""
    world.write("DELETE FROM users", ())
    world.user(1, "Ann", T1)
    world.poll(USERS)
    world.poll(PURCHASES)
    world.merge()
    world.nudges.waiting.clear()
    world.merges_soon = True
    return world


def merges_nudged(world: Seen) -> list[tuple[str, ...]]:
    return [nudge for nudge in world.nudges.waiting if nudge[0] == "merge"]


# --- which merges are made so -----------------------------------------------------------------------


def test_little_that_was_journalled_is_merged_with_no_nudge(world: Seen) -> None:
    world.user(1, "Anna", T2)
    world.poll(USERS)
    assert world.user_names()["e", 1] == "Anna"
    assert merges_nudged(world) == []
    assert world.pending() == 0


def test_more_than_a_little_is_nudged(world: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_writer, "FRESH_ROWS", 1)
    world.user(1, "Anna", T2)
    world.user(2, "Bob", T2)
    world.poll(USERS)
    assert world.user_names()["e", 1] == "Ann"
    assert merges_nudged(world) == [("merge", EAST, MODEL)]


def test_a_second_page_is_nudged(world: Seen) -> None:
    for id_ in range(10, 15):  # a page has three rows, of which the first is known
        world.user(id_, "new", T2)
    world.poll(USERS)
    assert len(world.user_names()) == 3
    assert merges_nudged(world) == [("merge", EAST, MODEL)]
    world.merge()
    assert len(world.user_names()) == 6


def test_rows_for_several_data_sources_are_nudged_for_each(world: Seen) -> None:
    world.user(2, "Bob", T2)
    world.user(3, "Wim", T2, tenant="w")
    world.poll(USERS)
    assert merges_nudged(world) == [("merge", EAST, MODEL), ("merge", WEST, MODEL)]


def test_a_first_load_is_nudged(world: Seen) -> None:
    world.app.commands.request_reconcile(USERS, full=False, confirm=False)
    world.write("INSERT INTO accounts VALUES (1, 'One', 'e')", ())
    world.poll("accounts")
    assert ("merge", EAST, MODEL) in merges_nudged(world)


def test_what_has_waited_is_left_to_the_merge_worker(world: Seen) -> None:
    world.merges_soon = False
    world.user(1, "Anna", T2)
    world.poll(USERS)
    world.merges_soon = True
    world.user(2, "Bob", T3)
    world.poll(USERS)
    assert world.user_names() == {("e", 1): "Ann"}
    assert merges_nudged(world) == [("merge", EAST, MODEL)] * 2


def test_a_backlog_of_another_feed_is_left_to_the_merge_worker(world: Seen) -> None:
    world.merges_soon = False
    world.write(f"INSERT INTO purchases VALUES (1, 1, '5', 'x', 'e', {NOW})", ())
    world.poll(PURCHASES)
    world.merges_soon = True
    world.user(1, "Anna", T2)
    world.poll(USERS)
    assert world.user_names()["e", 1] == "Ann"
    assert merges_nudged(world) == [("merge", EAST, MODEL)] * 2


def test_rows_that_are_refused_are_set_aside_as_by_the_merge_worker(world: Seen) -> None:
    world.in_east(REFUSE)
    world.user(2, "Bo", T2)
    world.user(1, "Anna", T2)
    world.poll(USERS)
    world.merge()
    assert world.user_names() == {("e", 1): "Anna"}
    assert [key for _, _, key in world.refused()] == [2]


def test_a_death_between_journal_and_merge_leaves_it_to_the_sweeper(world: Seen) -> None:
    world.user(1, "Anna", T2)
    world.poll_dying(USERS, lambda name, args: name == "append" and bool(args[1].batches))
    assert (world.user_names()["e", 1], merges_nudged(world), world.pending()) == ("Ann", [], 1)
    world.control.execute("UPDATE batch SET journalled_at = '2000-01-01T00:00:00.000Z'")
    world.app.sweep()
    assert merges_nudged(world) == [("merge", EAST, MODEL)]
    world.merge()
    assert world.user_names()["e", 1] == "Anna"


# --- beside the polls -------------------------------------------------------------------------------


@dataclass
class Application:
    """Merges as it is told to, and notes what was nudged."""

    merging: Callable[[], bool]
    nudge: Nudges = field(default_factory=Nudges)
    merge_soon: MergeSoon = merges_nothing
    merged: list[tuple[str, str]] = field(default_factory=list)

    def merge_fresh(self, data_source_id: DataSourceId, model: ModelId) -> bool:
        done = self.merging()
        self.merged.append((data_source_id, model))
        return done


@dataclass
class Gate:
    """A data source that does not answer until it is opened."""

    opened: threading.Event = field(default_factory=threading.Event)
    waiting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def wait(self) -> bool:
        self.waiting.release()
        return self.opened.wait(SOON_S)


@contextmanager
def gated(most: int) -> Iterator[tuple[Gate, Application, FreshMerges]]:
    gate = Gate()
    app = Application(gate.wait)
    fresh = FreshMerges(app, most=most)
    try:
        yield gate, app, fresh
    finally:
        gate.opened.set()
        fresh.close(within_s=SOON_S)


def test_data_sources_that_do_not_answer_take_no_more_than_their_share() -> None:
    with gated(most=2) as (gate, app, fresh):
        assert [fresh(DataSourceId(f"d{n}"), MODEL) for n in range(4)] == [True, True, False, False]
        gate.opened.set()
        until(lambda: fresh(DataSourceId("d5"), MODEL))
    assert app.nudge.waiting == []


def test_what_is_being_merged_is_not_merged_beside_itself() -> None:
    with gated(most=2) as (_, _, fresh):
        assert [fresh(EAST, MODEL), fresh(EAST, MODEL), fresh(WEST, MODEL)] == [True, False, True]


def failing() -> bool:
    raise StoreUnavailableError("away")


def broken() -> bool:
    raise ZeroDivisionError


@pytest.mark.parametrize("merging", [lambda: False, failing, broken], ids=["waits", "away", "a bug"])
def test_what_cannot_be_merged_is_nudged(merging: Callable[[], bool]) -> None:
    app = Application(merging)
    with merging_fresh(app, Settings()):
        assert app.merge_soon(EAST, MODEL)
    assert app.nudge.waiting == [("merge", EAST, MODEL)]


def test_what_runs_when_the_worker_stops_is_ended_or_nudged() -> None:
    with gated(most=1) as (gate, app, fresh):
        assert fresh(EAST, MODEL)
        assert gate.waiting.acquire(timeout=SOON_S)
        fresh.close(within_s=0.0)
        assert app.nudge.waiting == [("merge", EAST, MODEL)]
        assert not fresh(WEST, MODEL)
        gate.opened.set()
        until(lambda: app.merged == [(EAST, MODEL)])
