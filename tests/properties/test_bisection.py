"""Whatever a store refuses, and whoever dies of trying: exactly what has to be left out is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.bisection import (
    DEATHS,
    MOST_AGAIN,
    MOST_OF_ALL,
    MOST_REJECTED,
    Bisection,
    Phase,
    from_json,
)


@dataclass
class Store:
    """What it refuses: rows, rows without another one, and rows that together are too much."""

    bad: frozenset[int] = frozenset()
    needs: Mapping[int, int] = field(default_factory=dict)
    weights: Mapping[int, int] = field(default_factory=dict)
    most: int = 10
    killing: frozenset[int] = frozenset()
    always: bool = False
    tries: int = 0
    deaths: int = 0

    def refusal(self, rows: Sequence[int]) -> str | None:
        there = set(rows)
        if self.always:
            return "closed for today"
        if there & self.bad:
            return "bad"
        if any(row in there and other not in there for row, other in self.needs.items()):
            return "lacks another"
        return "too much" if sum(self.weights.get(row, 0) for row in there) > self.most else None

    def search(self, rows: int) -> Bisection:
        """Every try is by another worker, which knows only what was noted."""
        found = Bisection(rows=rows)
        while not found.ended:
            found = from_json(json.loads(json.dumps(found.begun().as_json())))
            tried = found.tried_rows()
            self.tries += 1
            if self.killing & set(tried):
                self.deaths += 1
                found = found.resumed()
                continue
            found = found.answered(self.refusal(tried))
        return found


ROWS = st.integers(1, MOST_OF_ALL)


@st.composite
def stores(draw: st.DrawFn) -> tuple[int, Store]:
    size = draw(ROWS)
    row = st.integers(0, size - 1)
    store = Store(
        bad=frozenset(draw(st.sets(row, max_size=4))),
        needs=draw(st.dictionaries(row, row, max_size=4)),
        weights=draw(st.dictionaries(row, st.integers(1, 11), max_size=6)),
        killing=frozenset(draw(st.sets(row, max_size=2))),
    )
    return size, store


@given(stores())
def test_the_others_go_in_and_none_that_was_refused_goes_in_with_them(case: tuple[int, Store]) -> None:
    size, store = case
    found = store.search(size)
    assert found.phase is Phase.FOUND
    left = found.applied_rows
    assert store.refusal(left) is None
    assert not store.killing & set(left)
    assert sorted([*left, *(r.row for r in found.refused)]) == list(range(size))
    for refused in found.refused:
        if not refused.killed:
            assert store.refusal([*left, refused.row]) is not None
    assert {r.row for r in found.refused if r.killed} == store.killing


@settings(deadline=None)
@given(st.sets(st.integers(0, 4095), max_size=12))
def test_a_bad_row_costs_a_search_not_a_try_of_each_row(bad: set[int]) -> None:
    store = Store(bad=frozenset(bad))
    found = store.search(4096)
    assert {r.row for r in found.refused} == bad
    assert store.tries <= 4 + len(bad) * (2 * 12 + 1)


@given(st.integers(2, 4096), st.data())
def test_a_row_that_kills_is_found_by_few_deaths(size: int, data: st.DataObject) -> None:
    killer = data.draw(st.integers(0, size - 1))
    store = Store(killing=frozenset({killer}))
    found = store.search(size)
    assert [(r.row, r.killed) for r in found.refused] == [(killer, True)]
    assert store.deaths <= (size - 1).bit_length() - 1 + DEATHS


def test_a_death_by_chance_rejects_nothing() -> None:
    """Half of the workers are killed in the middle of a try, for another reason."""
    store, found, tries = Store(bad=frozenset({3})), Bisection(rows=64), 0
    while not found.ended:
        found, tries = found.begun(), tries + 1
        found = found.resumed() if tries % 2 else found.answered(store.refusal(found.tried_rows()))
    assert [r.row for r in found.refused] == [3]


def test_what_is_refused_without_any_row_is_not_in_the_rows() -> None:
    found = Store(always=True).search(50)
    assert (found.phase, found.refused) == (Phase.GIVEN_UP, ())
    assert found.why == "refused even without its rows: closed for today"


def test_a_batch_that_is_refused_row_by_row_is_given_up_but_for_a_small_one() -> None:
    few = Store(bad=frozenset(range(MOST_OF_ALL))).search(MOST_OF_ALL)
    many = Store(bad=frozenset(range(MOST_OF_ALL + 1))).search(MOST_OF_ALL + 1)
    assert (few.phase, len(few.refused)) == (Phase.FOUND, MOST_OF_ALL)
    assert (many.phase, many.refused) == (Phase.GIVEN_UP, ())
    assert many.why == "each of its 21 rows is refused; the first: bad"


def test_more_bad_rows_than_a_person_would_look_at_are_given_up_soon() -> None:
    store = Store(bad=frozenset(range(50_000)))
    found = store.search(50_000)
    assert found.phase is Phase.GIVEN_UP
    assert found.why == f"more than {MOST_REJECTED:,} of its rows are refused; one: bad"
    assert store.tries < 3 * MOST_REJECTED


def test_many_refused_rows_are_not_each_tried_with_the_whole_batch() -> None:
    bad = frozenset(range(0, 4096, 32))
    store = Store(bad=bad)
    assert len(bad) > MOST_AGAIN
    assert {r.row for r in store.search(4096).refused} == bad
    assert store.tries < 13 * len(bad)
