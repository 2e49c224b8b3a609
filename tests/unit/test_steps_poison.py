"""A batch that is refused, or that workers die of, is taken apart, whatever crashes meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headrace.domain.bisection import DEATHS
from headrace.domain.vocabulary import BatchKind
from headrace.errors import DataRejectedError, StoreUnavailableError
from headrace.ports import KeyChunk
from headrace.steps.chunk import chunk_meta
from headrace.steps.log_run import KILLS
from headrace.steps.merge_report import MergeState
from tests.unit.fakes import USERS
from tests.unit.test_steps_merge import Merge

TOLD = ("note_bisection", "set_aside", "count_attempt", "mark_merged", "resolve", "payload", "refused_rows")
"""What a merge asks of the journal on the way of a refused batch."""


class Died(BaseException):
    """The process is gone."""


@pytest.fixture
def merge() -> Merge:
    return Merge()


def rejected(merge: Merge) -> list[str]:
    return sorted(merge.journal.rejected)


def test_a_refused_row_is_set_aside_and_nothing_waits_for_it(merge: Merge) -> None:
    merge.store.refused[3] = DataRejectedError("bad row")
    merge.journal.append([1, 2])
    merge.journal.append([3, 4, 5])
    merge.journal.append([6])
    report = merge.drain()
    assert (report.state, report.batches, report.rows, report.rejected) == (MergeState.DRAINED, 3, 5, 1)
    assert (merge.merged(), rejected(merge)) == ([1, 2, 4, 5, 6], ['["3"]'])
    assert merge.pending() == 0


def test_a_later_version_closes_the_rejected_row_when_it_is_merged(merge: Merge) -> None:
    merge.store.refused[3] = DataRejectedError("bad row")
    merge.journal.append([3, 4])
    merge.drain()
    merge.journal.append([3])
    merge.drain()
    assert rejected(merge) == ['["3"]']
    merge.store.refused.clear()
    merge.journal.append([4])
    merge.drain()
    assert rejected(merge) == ['["3"]']
    merge.journal.append([3])
    merge.drain()
    assert rejected(merge) == []


def dying(owner: Any, name: str, at: int, *, after: bool) -> Callable[[], int]:
    """The process dies right before or after this call of the method, counted from 0; gives the calls."""
    method, calls = getattr(owner, name), 0

    def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at + 1 and not after:
            raise Died
        result = method(*args, **kwargs)
        if calls == at + 1:
            raise Died
        return result

    setattr(owner, name, called)
    return lambda: calls


def a_refused_batch() -> Merge:
    merge = Merge()
    merge.store.refused[3] = DataRejectedError("bad row")
    merge.journal.append([8])
    merge.journal.append([1, 2, 3, 4, 5])
    merge.journal.append([6])
    return merge


@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_of_control_loses_and_doubles_nothing(name: str, *, after: bool) -> None:
    at = 0
    while True:
        merge = a_refused_batch()
        calls = dying(merge.journal, name, at, after=after)
        try:
            merge.drain()
        except Died:
            merge.drain()
        assert (merge.merged(), rejected(merge)) == ([8, 1, 2, 4, 5, 6], ['["3"]']), (name, at)
        assert merge.pending() == 0
        if calls() <= at:
            return
        at += 1


@pytest.mark.parametrize("row", [1, 4, 5])
def test_a_row_that_kills_is_found_across_deaths(merge: Merge, row: int) -> None:
    merge.store.refused[row] = Died()  # type: ignore[assignment]
    merge.journal.append([7])
    merge.journal.append([1, 2, 3, 4, 5])
    merge.journal.append([6])
    deaths = 0
    while True:
        try:
            report = merge.drain()
            break
        except Died:
            deaths += 1
    assert report.state is MergeState.DRAINED
    assert deaths <= 2 * DEATHS + 3
    assert merge.merged() == [7, *(id_ for id_ in (1, 2, 3, 4, 5) if id_ != row), 6]
    ((_, set_aside),) = merge.journal.rejected.values()
    assert (set_aside.key, set_aside.code, set_aside.reason) == (
        f'["{row}"]',
        "killed",
        "whoever applied it died",
    )


def test_a_batch_without_rows_that_kills_backs_off_before_it_kills_again(merge: Merge) -> None:
    merge.store.refused_keys = Died()  # type: ignore[assignment]
    keys = merge.journal.append([3], kind=BatchKind.KEYS, meta=chunk_meta(KeyChunk(reconciliation="r")))
    for _ in range(DEATHS):
        with pytest.raises(Died):
            merge.drain()
    report = merge.drain()
    assert (report.state, report.errors) == (MergeState.BLOCKED, (f"source {USERS}: {KILLS}",))
    merge.journal.backs_off.clear()
    with pytest.raises(Died):
        merge.drain()
    assert merge.drain().state is MergeState.BLOCKED
    assert len(merge.journal.delays[keys]) == 2


def test_a_batch_that_somebody_died_of_is_tried_alone(merge: Merge) -> None:
    ids = [merge.journal.append([id_]) for id_ in (1, 2, 3)]
    merge.journal.count_attempt(ids[1:2])
    merge.drain()
    assert merge.store.runs == [1, 1, 1]


def test_an_outage_in_a_try_is_no_answer_and_no_death(merge: Merge) -> None:
    for id_ in (3, 4):
        merge.store.refused[id_] = DataRejectedError("bad row")
    merge.journal.append([1, 2, 3, 4])
    outages = {"left": 6}

    def away(rows: list[int]) -> None:
        if len(rows) == 2 and outages["left"]:
            outages["left"] -= 1
            raise StoreUnavailableError("gone")

    merge.store.recomputing = away
    while True:
        try:
            merge.drain()
            break
        except StoreUnavailableError:
            assert merge.journal.noted[-1]["unanswered"] == 0
    assert (outages["left"], merge.merged(), rejected(merge)) == (0, [1, 2], ['["3"]', '["4"]'])


def test_what_is_refused_after_the_search_waits_and_is_searched_again_later(merge: Merge) -> None:
    """The store accepts each try, and refuses what the tries have left."""
    merge.journal.append([1, 2, 3])

    def moody(rows: list[int]) -> None:
        if len(rows) == 3 and not merge.store.trying:
            raise DataRejectedError("not today")

    merge.store.recomputing = moody
    assert merge.drain().errors == ("source users: not today [batch_refused]",)
    tries = merge.store.tries
    assert tries > 0
    assert rejected(merge) == []
    for _ in range(6):
        merge.journal.backs_off.clear()
        assert merge.drain().state is MergeState.BLOCKED
    assert merge.store.tries == 3 * tries
    merge.store.recomputing = lambda rows: None
    merge.journal.backs_off.clear()
    assert merge.drain().state is MergeState.DRAINED
    assert merge.merged() == [1, 2, 3]


def test_a_search_lets_go_of_the_lock_now_and_then(merge: Merge, monkeypatch: pytest.MonkeyPatch) -> None:
    merge.store.refused[3] = DataRejectedError("bad row")
    merge.journal.append([1, 2, 3, 4, 5, 6, 7, 8])
    monkeypatch.setattr("headrace.steps.taking_apart.VISIT_S", -1.0)
    locks = []

    def locked() -> bool:
        locks.append(merge.store.tries)
        if len(locks) == 5:
            merge.journal.append([9])
        return False

    merge.store.locked = locked
    report = merge.drain()
    assert (report.state, rejected(merge)) == (MergeState.DRAINED, ['["3"]'])
    assert merge.merged() == [1, 2, 4, 5, 6, 7, 8, 9]
