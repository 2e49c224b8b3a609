"""The theorem of the watermark: nothing that was not read is ever below the saved position.

A small model of a database: transactions start, write rows, and commit whenever they like, and the clock is
set back; polls ask for the fence, let others work for a while, open the snapshot, and save. Wrong ways of
saving and of putting re-reads off must be caught by the same histories.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from headrace.domain.position import Fence, Position, is_stranded, lowered, promised_class, saved_position
from headrace.domain.reread import RECHECK, Reread, is_tied, resumes_at
from headrace.domain.vocabulary import FeedClass

Save = Callable[[Position, Fence], Position]
Row = tuple[int, int]
"""Cursor and key; the key tells rows apart."""
QUANTUM = 1
SKEW = 3
START = 1_000
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clock(StrEnum):
    """What the cursors are."""

    DATABASE = "database"
    """At or after the transaction's start; commits in any order."""
    SKEWED = "skewed"
    """The same by clocks of applications, that far off at most."""
    BUSINESS = "business"
    """Days long past, one row at a time, each after all that were there."""
    COUNTER = "counter"
    """In the order of commits, with ties; no clock, so no fence."""


@dataclass
class Database:
    """Time is a count of steps; a row is visible once its transaction has committed."""

    clock: Clock
    now: int = START
    next_key: int = 0
    running: dict[int, tuple[int, list[Row]]] = field(default_factory=dict)
    """Start and rows of transactions, by number."""
    visible: list[Row] = field(default_factory=list)
    shown: int | None = None
    """The clock as the last fence saw it."""
    set_back: int = 0
    """How far it was set back since."""

    @property
    def skew(self) -> int:
        return SKEW if self.clock is Clock.SKEWED else 0

    def step(self, choice: int) -> None:
        """One thing happens, as the number says: time passes or is set back, or a transaction begins,
        writes or ends."""
        action, which = choice % 6, choice // 6
        names = sorted(self.running)
        if action == 0:
            self.now += 1 + which % 3
        elif self.clock in {Clock.BUSINESS, Clock.COUNTER}:
            self.append(which)
        elif action == 5 and which % 4 == 0:
            self.now -= 1 + which % 9
            self.set_back += 1 + which % 9
        elif action == 1 or not names:
            self.next_key += 1
            self.running[self.next_key] = (self.now, [])
        elif action in (2, 3):
            start, rows = self.running[names[which % len(names)]]
            off = which % (2 * self.skew + 1) - self.skew
            rows.append((start + which % (max(0, self.now - start) + 1) + off, self.new_key(which)))
        else:
            self.visible += self.running.pop(names[which % len(names)])[1]

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
        below = QUANTUM + self.skew
        oldest = min([self.now, *(start for start, _ in self.running.values())])
        resume = str(self.shown - self.set_back - below) if self.set_back and self.shown else None
        self.shown, self.set_back = self.now, 0
        return Fence(
            now=str(self.now + self.skew),
            bound=str(oldest - below),
            feed_class=FeedClass.EXACT,
            running=frozenset(map(str, self.running)),
            fresh=str(self.now - below),
            resume=resume,
        )


@dataclass
class Feed:
    """A feed of the database, polled: what it has read and what it remembers."""

    database: Database
    save: Save
    decide: Callable[[Reread, Fence], bool]
    """Whether to read again what is provisional."""
    read: set[Row] = field(default_factory=set)
    saved: Position | None = None
    lead: Position | None = None
    known: Reread = field(default_factory=Reread)

    def poll(self, meanwhile: Callable[[], None]) -> None:
        fence = self.database.fence()
        back = lowered(self.saved, fence, int)
        if back != self.saved:
            self.saved = self.lead = back
        resumed = resumes_at(self.saved, self.lead, due=self.decide(self.known, fence), affordable=True)
        meanwhile()  # the world does not wait for the snapshot
        seen = sorted(self.database.visible)
        page = [r for r in seen if not is_beyond(r, fence) and not (resumed and is_below(r, resumed))]
        self.read.update(page, (r for r in seen if is_beyond(r, fence)))
        if page:
            self.lead = Position(str(page[-1][0]), (str(page[-1][1]),))
        if self.lead is not None and resumed == self.saved:
            self._reread(page, fence)
        else:
            tied = is_tied(self.lead, fence, int)
            self.known = self.known.polled(fence, tied=tied, ahead=bool(page))

    def _reread(self, page: list[Row], fence: Fence) -> None:
        lead = self.lead
        assert lead is not None
        if page:
            self.saved = self.save(lead, fence)
        provisional = [r for r in page if self.saved is not None and not is_below(r, self.saved)]
        self.known = self.known.reread(
            fence,
            first=str(provisional[0][0]) if provisional else None,
            tied=is_tied(lead, fence, int),
            now=NOON,
            took=timedelta(),
            share=0.2,
        )

    def misses_committed_rows(self) -> bool:
        """A row that has been committed was not read."""
        return not self.read.issuperset(self.database.visible)

    def has_lost_a_row(self) -> bool:
        """A row that was not read is below the saved position, and the clock was not set back since."""
        running = (row for _, rows in self.database.running.values() for row in rows)
        unread = {*self.database.visible, *running} - self.read
        saved = self.saved
        return saved is not None and not self.database.set_back and any(is_below(r, saved) for r in unread)


def is_beyond(row: Row, fence: Fence) -> bool:
    """The row is not in the order of cursors yet: a lane has it."""
    return fence.now is not None and row[0] > int(fence.now)


def is_below(row: Row, saved: Position) -> bool:
    """Reading that resumes at `saved` does not meet the row."""
    if saved.key is None:
        return row[0] < int(saved.cursor)
    return row <= (int(saved.cursor), int(saved.key[0]))


def as_due(known: Reread, fence: Fence) -> bool:
    return known.is_due(fence, now=NOON, rank=int)


def always(known: Reread, fence: Fence) -> bool:
    return True


def loses_a_row(history: tuple[Clock, list[int]], save: Save) -> bool:
    """Whether some row that no poll has read is below a saved position, with re-reads put off or not."""
    return any(_any_poll(history, save, decide, Feed.has_lost_a_row) for decide in (always, as_due))


def delays_a_row(history: tuple[Clock, list[int]], decide: Callable[[Reread, Fence], bool]) -> bool:
    """Whether some poll leaves a row unread that had been committed when it began."""
    return _any_poll(history, right, decide, Feed.misses_committed_rows, rests=True)


def _any_poll(
    history: tuple[Clock, list[int]],
    save: Save,
    decide: Callable[[Reread, Fence], bool],
    found: Callable[[Feed], bool],
    *,
    rests: bool = False,
) -> bool:
    clock, choices = history
    database = Database(clock)
    feed = Feed(database, save, decide)
    steps = iter(choices)
    for choice in steps:
        if choice % 6:
            database.step(choice // 6)
            if not rests and found(feed):
                return True
            continue

        def meanwhile(many: int = 0 if rests else choice // 6 % 4) -> None:
            for _ in range(many):
                database.step(next(steps, 0))

        feed.poll(meanwhile)
        if found(feed):
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


def fence_moved_only(known: Reread, fence: Fence) -> bool:
    """An idle transaction hides the late commits of all others."""
    return as_due(replace(known, ran=frozenset(), tied=False), fence)


def ties_forgotten(known: Reread, fence: Fence) -> bool:
    return as_due(replace(known, tied=False), fence)


CHOICES = st.lists(st.integers(0, 3_600), max_size=60)
FIND = settings(max_examples=5_000, derandomize=True, database=None, deadline=None, phases=(Phase.generate,))
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
    found = find(st.tuples(st.just(clock), CHOICES), lambda h: loses_a_row(h, mutant), settings=FIND)
    assert not loses_a_row(found, right)


@settings(max_examples=300)
@given(HISTORIES)
def test_putting_re_reads_off_delays_no_committed_row(history: tuple[Clock, list[int]]) -> None:
    assert not delays_a_row(history, as_due)


def test_putting_re_reads_off_until_the_fence_moves_would_delay_rows() -> None:
    histories = st.tuples(st.just(Clock.DATABASE), CHOICES)
    found = find(histories, lambda h: delays_a_row(h, fence_moved_only), settings=FIND)
    assert not delays_a_row(found, as_due)


@pytest.mark.parametrize(("decide", "delays"), [(as_due, False), (ties_forgotten, True)])
def test_rows_dated_before_the_lead_by_a_skewed_clock_are_read_at_the_next_poll(
    decide: Callable[[Reread, Fence], bool], delays: bool
) -> None:
    database = Database(Clock.SKEWED)
    feed = Feed(database, right, decide)
    database.running[1] = (START, [])  # holds the fence
    database.now += 10
    for id_, off in ((5, SKEW), (6, -SKEW)):
        database.visible.append((database.now + off, id_))
        feed.poll(lambda: None)
        database.now += 1
    assert feed.misses_committed_rows() is delays


def test_rows_that_come_ahead_have_those_behind_them_read_again_after_a_minute() -> None:
    """A transaction may take its time slightly before a fence can see it, and end before the next one."""
    fence = Fence(now="9", bound="1", fresh="9", running=frozenset("a"), feed_class=FeedClass.EXACT)
    known = Reread(first="5", tied=False, ran=None).reread(
        fence, first="5", tied=False, now=NOON, took=timedelta(seconds=1), share=0.2
    )
    ahead = known.polled(fence, tied=False, ahead=True)
    soon, late = NOON + RECHECK / 2, NOON + RECHECK
    assert not known.is_due(fence, now=late, rank=int)
    assert not ahead.is_due(fence, now=soon, rank=int)
    assert ahead.is_due(fence, now=late, rank=int)


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


def test_only_a_position_past_the_clock_is_stranded() -> None:
    timed = Fence(now="9", bound=None, feed_class=FeedClass.EXACT)
    assert is_stranded(Position("10", None), timed, int)
    assert not is_stranded(Position("9", ("k",)), timed, int)
    assert not is_stranded(None, timed, int)
    assert not is_stranded(Position("10", None), replace(timed, now=None), int)


def test_the_saved_position_goes_down_to_where_rows_may_have_come_since_the_clock_was_set_back() -> None:
    set_back = Fence(now="9", bound=None, feed_class=FeedClass.EXACT, resume="5")
    assert lowered(Position("7", ("k",)), set_back, int) == Position("5", None)
    assert lowered(Position("5", ("k",)), set_back, int) == Position("5", None)
    assert lowered(Position("4", ("k",)), set_back, int) == Position("4", ("k",))
    assert lowered(Position("7", None), replace(set_back, resume=None), int) == Position("7", None)
