"""The theorem of the watermark: nothing that was not read is ever below the saved position.

A small model of a database: transactions start, write rows, and commit whenever they like; polls ask for
the fence, let others work for a while, open the snapshot, and save. Wrong ways of saving must be
caught by the same histories.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from headrace.domain.position import Fence, Position, promised_class, saved_position
from headrace.domain.vocabulary import FeedClass

Save = Callable[[Position, Fence], Position]
Row = tuple[int, int]
"""Cursor and key; the key tells rows apart."""
QUANTUM = 1


class Clock(StrEnum):
    """What the cursors are."""

    DATABASE = "database"
    """At or after the transaction's start; commits in any order."""
    BUSINESS = "business"
    """Days long past, one row at a time, each after all that were there."""
    COUNTER = "counter"
    """In the order of commits, with ties; no clock, so no fence."""


@dataclass
class Database:
    """Time is a count of steps; a row is visible once its transaction has committed."""

    clock: Clock
    now: int = 1_000
    next_key: int = 0
    running: dict[int, list[Row]] = field(default_factory=dict)
    """Transactions by a number whose upper part is their start."""
    visible: list[Row] = field(default_factory=list)

    def step(self, choice: int) -> None:
        """One thing happens, as the number says: time passes, or a transaction begins, writes or ends."""
        action, which = choice % 5, choice // 5
        names = sorted(self.running)
        if action == 0:
            self.now += 1 + which % 3
        elif self.clock is not Clock.DATABASE:
            self.append(which)
        elif action == 1 or not names:
            self.next_key += 1
            self.running[self.now * 1_000_000 + self.next_key] = []
        elif action in (2, 3):
            name = names[which % len(names)]
            start = name // 1_000_000
            self.running[name].append((start + which % (self.now - start + 1), self.new_key(which)))
        else:
            self.visible += self.running.pop(names[which % len(names)])

    def append(self, which: int) -> None:
        last = max((cursor for cursor, _ in self.visible), default=0)
        if self.clock is Clock.BUSINESS:
            self.visible.append((last + 1, self.new_key(which)))
        else:
            self.visible.append((last + which % 2, self.new_key(which)))

    def new_key(self, which: int) -> int:
        """Not ascending: a later row may sort before an earlier one of the same cursor."""
        self.next_key += 1
        return (which % 7) * 1_000_000 + self.next_key

    def fence(self) -> Fence:
        if self.clock is Clock.COUNTER:
            return Fence(now=None, bound=None, feed_class=FeedClass.BOUNDED)
        oldest = min([self.now, *(name // 1_000_000 for name in self.running)])
        bound = str(oldest - QUANTUM)
        return Fence(now=str(self.now), bound=bound, feed_class=FeedClass.EXACT)


def is_below(row: Row, saved: Position) -> bool:
    """Reading that resumes at `saved` does not meet the row."""
    if saved.key is None:
        return row[0] < int(saved.cursor)
    return row <= (int(saved.cursor), int(saved.key[0]))


def loses_a_row(history: tuple[Clock, list[int]], save: Save) -> bool:
    """Whether some row that no poll has read is below a saved position."""
    clock, choices = history
    database = Database(clock)
    read: set[Row] = set()
    saved: Position | None = None
    lead: Row | None = None
    steps = iter(choices)
    for choice in steps:
        if choice % 6:
            database.step(choice)
        else:
            fence = database.fence()
            for _ in range(choice // 6 % 4):  # the world does not wait for the snapshot
                database.step(next(steps, 0))
            page = sorted(r for r in database.visible if saved is None or not is_below(r, saved))
            read.update(page)
            lead = max([*page, *([lead] if lead else [])], default=None)
            if lead is not None:
                saved = save(Position(str(lead[0]), (str(lead[1]),)), fence)
        unread = {*database.visible, *(row for rows in database.running.values() for row in rows)} - read
        if saved is not None and any(is_below(row, saved) for row in unread):
            return True
    return False


def right(lead: Position, fence: Fence) -> Position:
    return saved_position(lead=lead, fence=fence, rank=int)


def lead_always(lead: Position, fence: Fence) -> Position:
    return lead


def fence_always(lead: Position, fence: Fence) -> Position:
    return lead if fence.bound is None else Position(fence.bound, None)


def fence_passed_exclusive(lead: Position, fence: Fence) -> Position:
    """The first row at or above the bound is taken for done."""
    saved = right(lead, fence)
    return saved if saved.key else Position(str(int(saved.cursor) + QUANTUM + 1), None)


def ties_closed_without_a_fence(lead: Position, fence: Fence) -> Position:
    return lead if fence.bound is None else right(lead, fence)


CHOICES = st.lists(st.integers(0, 600), max_size=60)
HISTORIES = st.tuples(st.sampled_from(list(Clock)), CHOICES)


@settings(max_examples=300)
@given(HISTORIES)
def test_no_unread_row_is_ever_below_the_saved_position(history: tuple[Clock, list[int]]) -> None:
    assert not loses_a_row(history, right)


@pytest.mark.parametrize(
    ("mutant", "clock"),
    [
        (lead_always, Clock.DATABASE),
        (fence_always, Clock.BUSINESS),
        (fence_passed_exclusive, Clock.DATABASE),
        (ties_closed_without_a_fence, Clock.COUNTER),
    ],
)
def test_each_wrong_way_of_saving_is_caught(mutant: Save, clock: Clock) -> None:
    quick = settings(max_examples=5_000, derandomize=True, database=None, deadline=None)
    found = find(st.tuples(st.just(clock), CHOICES), lambda h: loses_a_row(h, mutant), settings=quick)
    assert not loses_a_row(found, right)


def test_the_saved_position_is_the_lead_once_the_fence_has_passed_it() -> None:
    lead = Position("5", ("k",))
    passed = Fence(now="9", bound="6", feed_class=FeedClass.EXACT)
    assert right(lead, passed) == lead
    tied = Fence(now="9", bound="5", feed_class=FeedClass.EXACT)
    assert right(lead, tied) == Position("5", None)
    before = Fence(now="9", bound="3", feed_class=FeedClass.EXACT)
    assert right(lead, before) == Position("3", None)


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ("database", FeedClass.EXACT),
        ("skew:5s", FeedClass.BOUNDED),
        ("business", FeedClass.EVENTUAL),
        ("undeclared", FeedClass.EVENTUAL),
    ],
)
def test_a_perfect_fence_makes_a_feed_exact_only_with_the_databases_clock(
    clock: str, expected: FeedClass
) -> None:
    fence = Fence(now="2", bound="1", feed_class=FeedClass.EXACT)
    feed_class, reason = promised_class(clock, fence)
    assert feed_class is expected
    assert (reason == "") == (expected is FeedClass.EXACT)
