"""Batches are applied in order, once, and what is in the way of one log is in the way of no other."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace

import pytest

from headrace.domain.vocabulary import BatchId, BatchKind, FeedId, LogId
from headrace.errors import (
    ControlUnavailableError,
    DataRejectedError,
    InvariantError,
    LeaseLostError,
    StoreUnavailableError,
)
from headrace.ports import Applied, FeedLog, KeyChunk, MergeCounts
from headrace.steps.chunk import chunk_meta, key_chunk
from headrace.steps.log_run import WAITS_FOR_APPLY
from headrace.steps.merge import MergeStep
from headrace.steps.merge_report import MergeReport, MergeState
from headrace.steps.merging import Merging
from headrace.steps.standing import standing
from tests.unit.fakes import (
    APP,
    MODEL,
    PURCHASES,
    STORE,
    USERS,
    FakeJournal,
    FakeStore,
    FixedCatalogue,
    FixedClock,
    Told,
)


class Most(random.Random):
    """The greatest chance always."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Merge:
    """A step over fakes."""

    def __init__(self, *, run_batches: int = 8) -> None:
        self.journal, self.store, self.told = FakeJournal(), FakeStore(), Told()
        self.catalogue = FixedCatalogue()
        merging = Merging(
            journal=self.journal,
            stores=self.store,
            nudge=self.told,
            clock=FixedClock(),
            random=Most(),
            run_batches=run_batches,
        )
        self.step = MergeStep(merging=merging, catalogue=self.catalogue)

    def drain(self) -> MergeReport:
        return self.step.drain(STORE, MODEL)

    def merged(self) -> list[int]:
        return [id_ for _, id_ in self.store.rows]

    def pending(self) -> int:
        return sum(log.seq - log.merged_seq for log in self.journal.logs_of.values())


@pytest.fixture
def merge() -> Merge:
    return Merge()


FEED = FeedId("feed")
LOG = FeedLog(
    feed_id=FEED,
    source_id=USERS,
    app_id=APP,
    data_source_id=STORE,
    log_id=LogId("log"),
    seq=5,
    merged_seq=3,
)


def mark(seq: int, *, log: str = "log", batch: str | None = None) -> Applied:
    return Applied(LogId(log), seq, BatchId(batch or f"batch-{seq}"))


@pytest.mark.parametrize(
    ("feed_log", "applied", "goes_on_from", "words"),
    [
        (replace(LOG, merged_seq=0), None, 0, None),
        (replace(LOG, merged_seq=0), mark(9, log="older"), 0, None),
        (LOG, None, None, "does not have the log"),
        (LOG, mark(3, log="older"), None, "does not have the log"),
        (LOG, mark(2), None, "behind"),
        (LOG, mark(6), None, "ahead"),
        (LOG, mark(4, batch="another"), None, "another batch"),
        (LOG, mark(3), 3, None),
        (LOG, mark(4), 4, None),
        (LOG, mark(5), 5, None),
    ],
)
def test_a_store_stands_in_a_log_or_one_of_both_was_restored(
    feed_log: FeedLog, applied: Applied | None, goes_on_from: int | None, words: str | None
) -> None:
    where = standing(feed_log, applied, lambda seq: BatchId(f"batch-{seq}"))
    if words is None:
        assert (where.applied_seq, where.restored) == (goes_on_from, None)
    else:
        assert words in (where.restored or "")


def test_batches_are_applied_in_order_in_few_transactions(merge: Merge) -> None:
    for id_ in range(20):
        merge.journal.append([id_], kind=BatchKind.LOAD if id_ < 3 else BatchKind.ROWS)
    report = merge.drain()
    assert merge.merged() == list(range(20))
    assert merge.store.runs == [16, 4]
    assert (report.state, report.batches, report.rows) == (MergeState.DRAINED, 20, 20)
    assert merge.pending() == 0


def load(merge: Merge, *ids: int, goes_on: bool = True) -> None:
    """A batch each of a first load, which goes on or has come to its end."""
    merge.store.begins_loads = True
    for id_ in ids:
        merge.journal.append([id_], kind=BatchKind.LOAD, loads=goes_on)


def come_to_its_end(merge: Merge) -> None:
    merge.journal.logs_of[USERS] = replace(merge.journal.logs_of[USERS], loads=False)


def test_the_last_batch_of_a_load_waits_in_control_for_its_end(merge: Merge) -> None:
    load(merge, 1, 2, 3)
    assert merge.drain().batches == 2
    assert (merge.merged(), merge.pending(), merge.store.ends) == ([1, 2, 3], 1, [])
    load(merge, 4)
    assert merge.drain().batches == 1
    assert (merge.merged(), merge.pending(), merge.store.ends) == ([1, 2, 3, 4], 1, [])
    come_to_its_end(merge)
    assert merge.drain().batches == 1
    assert (merge.pending(), merge.store.ends) == (0, [4])
    assert not merge.drain().batches


def test_a_load_of_one_batch_a_transaction_is_drained_at_once() -> None:
    merge = Merge(run_batches=1)
    load(merge, 1, 2, 3, goes_on=False)
    assert merge.drain().batches == 3
    assert (merge.merged(), merge.pending(), merge.store.ends) == ([1, 2, 3], 0, [3])


def test_a_load_takes_what_comes_meanwhile_into_the_same_transaction() -> None:
    merge = Merge(run_batches=1)
    load(merge, 1, 2, 3)
    merge.drain()
    assert (merge.store.runs[0], merge.pending()) == (3, 1)


def test_what_a_load_takes_into_one_transaction_is_bounded() -> None:
    merge = Merge(run_batches=1)
    load(merge, *range(1, 41))
    merge.drain()
    assert (max(merge.store.runs), merge.merged()) == (16, list(range(1, 41)))


def test_a_batch_refused_in_the_midst_of_a_load_is_found_alone_and_nothing_else_is_lost() -> None:
    merge = Merge(run_batches=1)
    merge.store.refused[2] = DataRejectedError("no")
    load(merge, 1, 2, 3, goes_on=False)
    for _ in range(9):
        merge.drain()
    assert merge.merged() == [1, 3]
    assert list(merge.journal.rejected) == ['["2"]']


def test_a_load_without_a_batch_for_long_is_over(merge: Merge) -> None:
    load(merge, 1, 2)
    merge.drain()
    (log,) = merge.journal.batches
    merge.journal.batches[log] = [replace(b, is_stale=True) for b in merge.journal.batches[log]]
    merge.drain()
    assert (merge.pending(), merge.store.ends) == (0, [2])


def test_old_batches_of_a_load_that_others_follow_do_not_end_it() -> None:
    merge = Merge(run_batches=1)
    load(merge, 1, 2, 3)
    (log,) = merge.journal.batches
    first, second, last = merge.journal.batches[log]
    merge.journal.batches[log] = [replace(first, is_stale=True), replace(second, is_stale=True), last]
    merge.drain()
    assert (merge.merged(), merge.pending(), merge.store.ends) == ([1, 2, 3], 1, [])


def test_rows_after_a_load_end_it(merge: Merge) -> None:
    load(merge, 1, 2)
    merge.drain()
    merge.journal.append([3], loads=True)
    merge.drain()
    assert (merge.merged(), merge.pending(), merge.store.ends) == ([1, 2, 3], 0, [2])


def test_a_load_that_another_feed_has_ended_is_told_to_control(merge: Merge) -> None:
    load(merge, 1, 2)
    merge.drain()
    merge.journal.append([9], source=PURCHASES)
    merge.drain()
    assert (merge.pending(), merge.store.ends) == (0, [2])


@pytest.mark.parametrize("crashes_at", [1, 2, 3, 4])
def test_a_load_survives_a_crash_between_any_commit_and_its_telling(crashes_at: int) -> None:
    merge, told = Merge(run_batches=1), 0

    def crash() -> None:
        nonlocal told
        told += 1
        if told == crashes_at:
            raise ControlUnavailableError("gone")

    merge.journal.marking = crash
    load(merge, 1, 2, 3, 4, goes_on=False)
    with contextlib.suppress(ControlUnavailableError):
        merge.drain()
    merge.drain()
    assert (merge.merged(), merge.pending(), merge.store.loading) == ([1, 2, 3, 4], 0, False)


def test_an_end_of_a_load_that_is_refused_waits_longer_each_time(merge: Merge) -> None:
    load(merge, 1, 2)
    merge.drain()
    come_to_its_end(merge)

    def refuse(_: list[int]) -> None:
        raise DataRejectedError("no key")

    merge.store.recomputing = refuse
    assert merge.drain().state is MergeState.BLOCKED
    assert merge.store.loading
    assert merge.journal.backs_off


def test_an_end_of_a_load_waits_for_the_apply_that_its_tables_are_of(merge: Merge) -> None:
    load(merge, 1, 2)
    merge.drain()
    come_to_its_end(merge)
    merge.store.shape = "shape-2"
    assert merge.drain().state is MergeState.BLOCKED
    assert merge.store.loading


def test_a_merge_is_told_to_control_only_when_it_is_committed(merge: Merge) -> None:
    merge.journal.append([1])
    merge.store.committing = lambda: None if merge.pending() else pytest.fail("told before the commit")
    assert merge.drain().batches == 1
    assert merge.pending() == 0


def test_an_attempt_is_counted_before_it_is_tried(merge: Merge) -> None:
    batch_id = merge.journal.append([1])
    tried: list[int] = []
    merge.store.recomputing = lambda _: tried.append(merge.journal.attempts(batch_id))
    merge.drain()
    assert tried == [1]


def test_a_worker_that_died_before_it_told_control_left_nothing_to_apply_twice(merge: Merge) -> None:
    merge.journal.append([1])
    merge.journal.append([2])

    def die() -> None:
        raise ControlUnavailableError("gone")

    merge.journal.marking = die
    with pytest.raises(ControlUnavailableError):
        merge.drain()
    merge.journal.marking = lambda: None
    merge.journal.append([3])
    assert merge.drain().state is MergeState.DRAINED
    assert merge.merged() == [1, 2, 3]
    assert merge.pending() == 0


def test_a_refused_batch_that_has_no_rows_backs_off_alone_and_longer_each_time(merge: Merge) -> None:
    merge.store.refused_keys = DataRejectedError("another table needs the record")
    good = merge.journal.append([1])
    bad = merge.journal.append([3], kind=BatchKind.KEYS, meta=chunk_meta(KeyChunk(reconciliation="r")))
    later = merge.journal.append([4])
    merge.journal.append([7], source=PURCHASES)
    report = merge.drain()
    assert sorted(merge.merged()) == [1, 7]
    assert (report.state, report.blocked) == (MergeState.BLOCKED, (USERS,))
    assert report.errors == ("source users: another table needs the record [batch_refused]",)
    assert merge.drain() == replace(report, batches=0, rows=0, counts=MergeCounts())
    for _ in range(3):
        merge.journal.backs_off.clear()
        assert merge.drain().state is MergeState.BLOCKED
    assert merge.journal.delays == {bad: [2.0, 4.0, 8.0, 16.0]}
    assert merge.journal.attempts(bad) == 4
    assert merge.journal.attempts(later) == 0
    assert merge.journal.attempts(good) == 1
    merge.store.refused_keys = None
    merge.journal.backs_off.clear()
    assert merge.drain().state is MergeState.DRAINED
    assert sorted(merge.merged()) == [1, 4, 7]


def test_an_outage_gives_attempts_back(merge: Merge) -> None:
    batches = [merge.journal.append([id_]) for id_ in (1, 2)]
    merge.store.refused[1] = StoreUnavailableError("gone")
    with pytest.raises(StoreUnavailableError):
        merge.drain()
    assert [merge.journal.attempts(b) for b in batches] == [0, 0]
    assert merge.merged() == []


def test_an_outage_gives_attempts_back_also_when_a_batch_is_tried_alone(merge: Merge) -> None:
    batches = [merge.journal.append([id_]) for id_ in (1, 2)]
    merge.store.refused[2] = DataRejectedError("the run is refused")
    times = iter(range(9))

    def out_the_second_time() -> bool:
        if next(times) == 1:
            merge.store.refused[1] = StoreUnavailableError("gone")
        return False

    merge.store.locked = out_the_second_time
    with pytest.raises(StoreUnavailableError):
        merge.drain()
    assert [merge.journal.attempts(b) for b in batches] == [0, 0]
    assert merge.merged() == []


def test_batches_of_another_shape_wait_for_apply_and_nothing_is_tried(merge: Merge) -> None:
    merge.journal.append([1])
    newer = merge.journal.append([2], shape="shape-2")
    report = merge.drain()
    assert (merge.merged(), report.state) == ([1], MergeState.BLOCKED)
    assert report.errors == (f"source users: {WAITS_FOR_APPLY}",)
    assert merge.journal.attempts(newer) == 0
    merge.catalogue.fingerprint = "shape-2"
    assert merge.drain().state is MergeState.BLOCKED
    merge.store.shape = "shape-2"
    assert merge.drain().state is MergeState.DRAINED
    assert merge.merged() == [1, 2]


def test_a_nudge_that_found_the_lock_taken_is_served_by_who_held_it(merge: Merge) -> None:
    merge.journal.append([1])
    merge.journal.backs_off.add(merge.journal.append([2]))
    merge.drain()
    looks = []

    def journalled_meanwhile() -> bool:
        if not looks:
            looks.append(merge.journal.append([9], source=PURCHASES))
        return False

    merge.store.locked = journalled_meanwhile
    assert merge.drain().state is MergeState.BLOCKED
    assert merge.merged() == [1, 9]


def test_what_another_worker_marks_merged_meanwhile_hides_nothing_that_follows(merge: Merge) -> None:
    """It had let go of the lock, and tells control between this one's two looks at the journal."""
    batches = [merge.journal.append([id_]) for id_ in (1, 2)]

    def die() -> None:
        raise ControlUnavailableError("slow")

    merge.journal.marking = die
    with pytest.raises(ControlUnavailableError):
        merge.drain()
    merge.journal.marking = lambda: None
    merge.journal.append([3])

    def told() -> None:
        merge.journal.mark_merged(batches, rows_changed=0)

    merge.journal.asked = told
    report = merge.drain()
    assert (report.state, report.errors) == (MergeState.DRAINED, ())
    assert merge.merged() == [1, 2, 3]


def test_a_log_that_is_ended_between_two_looks_is_left(merge: Merge) -> None:
    merge.journal.append([1])

    def ended() -> None:
        merge.journal.begin_new_log(merge.journal.logs_of[USERS], "the other one")
        merge.journal.batches.clear()

    merge.journal.asked = ended
    assert merge.drain().state is MergeState.DRAINED


def test_a_source_that_waits_is_told_apart_from_others(merge: Merge) -> None:
    waits = merge.journal.append([1], source=PURCHASES)
    merge.journal.back_off([waits], "bad row", delay_s=9.0)
    merge.journal.append([2])
    report = merge.drain()
    assert (report.state, report.blocked, merge.merged()) == (MergeState.BLOCKED, (PURCHASES,), [2])


def test_a_merge_that_finds_the_lock_taken_leaves(merge: Merge) -> None:
    merge.journal.append([1])
    merge.store.locked = lambda: True
    assert merge.drain().state is MergeState.LOCKED
    assert merge.merged() == []


def test_a_run_takes_batches_of_every_kind(merge: Merge) -> None:
    chunk = KeyChunk(reconciliation="r", after=("1",), upto=None, closes=True)
    merge.store.missing = (("5",), ("6",))
    merge.journal.append([1])
    merge.journal.append([1], kind=BatchKind.KEYS, meta=chunk_meta(chunk))
    merge.journal.append([2])
    merge.journal.append([0], kind=BatchKind.DROP, meta={"customers": ["acme"], "epoch": 3})
    report = merge.drain()
    # The drop is a transaction of its own: it alone makes no events.
    assert (merge.store.runs, merge.merged()) == ([2, 0], [1, 2])
    assert merge.store.chunks == [chunk] == [key_chunk(chunk_meta(chunk))]
    assert merge.store.dropped == [("acme", 3)]
    assert merge.journal.requested == [("5",), ("6",)]
    assert merge.told.polls == [FeedId("feed-users")]
    assert (report.held, report.counts.changed) == (2, 4)


def test_a_restored_store_begins_a_new_log_and_its_feed_is_asked(merge: Merge) -> None:
    merge.journal.append([1])
    merge.drain()
    merge.store.marks.clear()
    merge.step.recognise_restored(STORE, MODEL)
    assert merge.journal.reasons == ["the store does not have the log that control has merged"]
    assert merge.told.polls == [FeedId("feed-users")]
    merge.step.recognise_restored(STORE, MODEL)
    assert len(merge.journal.reasons) == 1


def test_a_log_that_another_worker_began_anew_is_begun_once(merge: Merge) -> None:
    merge.journal.append([1])
    merge.drain()
    merge.store.marks.clear()
    merge.journal.append([2])

    def begun_meanwhile() -> bool:
        merge.journal.begin_new_log(merge.journal.logs_of[USERS], "the other one")
        merge.store.locked = lambda: False
        return False

    merge.store.locked = begun_meanwhile
    merge.drain()
    assert merge.journal.reasons == ["the other one"]


def test_a_feed_that_ended_under_the_lock_is_left(merge: Merge) -> None:
    merge.journal.append([1])

    def ended() -> bool:
        merge.journal.logs_of.clear()
        return False

    merge.store.locked = ended
    assert merge.drain().state is MergeState.DRAINED
    assert merge.merged() == []


def test_batches_that_are_gone_under_the_lock_are_not_applied(merge: Merge) -> None:
    batch = merge.journal.append([1])
    merge.journal.payloads.clear()
    with pytest.raises(LeaseLostError):
        merge.drain()
    assert merge.merged() == []
    assert merge.journal.attempts(batch) == 0


def test_a_hole_in_a_log_is_our_fault(merge: Merge) -> None:
    for id_ in (1, 2):
        merge.journal.append([id_])
    log_id = merge.journal.logs_of[USERS].log_id
    del merge.journal.batches[log_id][0]
    with pytest.raises(InvariantError):
        merge.drain()
