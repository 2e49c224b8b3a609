"""The port `Journal`: draining, attempts, marking, new logs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from headrace.control.tables import batch_payload
from headrace.domain.vocabulary import BatchKind, DataSourceId, ModelId
from tests.conformance.control.project import MAIN, SIDE, USERS, USERS_MODEL, Control, rejected, rows


def test_waiting_batches_come_in_order_with_all_that_a_merge_needs(control: Control) -> None:
    log, ids = control.journalled(rows(kind=BatchKind.LOAD), rows(SIDE), rows())
    first, second = control.journal.waiting(log, after_seq=0, max_batches=9, max_bytes=99)
    assert (first.id, second.id) == (ids[0], ids[2])
    assert (first.seq, second.seq, first.log_id, first.feed_id) == (1, 2, log.log_id, log.feed_id)
    assert (first.kind, second.kind, first.rows, first.payload_bytes) == (
        BatchKind.LOAD,
        BatchKind.ROWS,
        2,
        5,
    )
    assert (first.meta, first.shape_fingerprint, first.attempts) == ({"n": 1}, "shape-1", 0)
    assert abs(control.seen().seen_at - first.journalled_at) < timedelta(minutes=1)
    assert control.journal.payload(ids[0]) == b"arrow"


def test_a_batch_tells_when_what_it_holds_changed_and_what_trace_it_is_of(control: Control) -> None:
    changed_at = datetime(2026, 3, 1, 12, 0, 0, 123_000, UTC)
    log, _ = control.journalled(rows(), rows(), changed_at=changed_at, traceparent="00-ab-cd-01")
    control.journalled(rows())
    first, second, third = control.journal.waiting(log, after_seq=0, max_batches=9, max_bytes=99)
    assert (first.changed_at, first.traceparent) == (changed_at, "00-ab-cd-01")
    assert (second.changed_at, second.traceparent) == (changed_at, "00-ab-cd-01")
    assert (third.changed_at, third.traceparent) == (None, None)


def test_a_drain_is_bounded_but_takes_at_least_one_batch(control: Control) -> None:
    log, _ = control.journalled(rows(payload=b"x" * 50), rows(), rows())
    seqs = [
        [b.seq for b in control.journal.waiting(log, after_seq=0, max_batches=n, max_bytes=size)]
        for n, size in ((2, 1000), (9, 1), (9, 55), (9, 54))
    ]
    assert seqs == [[1, 2], [1], [1, 2], [1]]


def test_a_batch_in_backoff_blocks_those_behind_it_until_its_time(control: Control) -> None:
    log, ids = control.journalled(rows(), rows(), rows())
    control.journal.back_off(ids[1:2], "the store is full", delay_s=60)
    assert control.waiting(log) == [1]
    reasons = [control.journal.back_off_reason(log, seq) for seq in (1, 2, 3, 4)]
    assert reasons == [None, "the store is full", None, None]
    assert (control.seen().backing_off, control.seen().merge_error) == (True, "the store is full")
    control.journal.back_off(ids[1:2], "the store is full", delay_s=-1)
    assert control.waiting(log) == [1, 2, 3]


def test_loads_tell_what_waits_and_what_went_through_since_a_moment(control: Control) -> None:
    _, ids = control.journalled(rows(), rows(), rows(SIDE))
    control.journal.mark_merged(ids[:1], rows_changed=2)
    control.journal.back_off(ids[1:2], "the store is full", delay_s=60)
    at = control.seen().seen_at
    main, side = control.status.loads(at - timedelta(minutes=1))
    assert (main.data_source_id, main.model_id, side.data_source_id) == (MAIN, USERS_MODEL, SIDE)
    assert (main.pending_batches, main.pending_rows, main.error) == (1, 2, "the store is full")
    assert (main.journalled_rows, main.merged_rows) == (4, 2)
    assert (side.pending_batches, side.error, side.journalled_rows, side.merged_rows) == (1, None, 2, 0)
    assert main.pending_since is not None
    assert abs(main.pending_since - at) < timedelta(minutes=1)
    later = control.status.loads(at + timedelta(minutes=1))
    assert [(x.pending_batches, x.journalled_rows, x.merged_rows) for x in later] == [(1, 0, 0), (1, 0, 0)]


def test_a_gap_ends_a_drain(control: Control) -> None:
    log, ids = control.journalled(rows(), rows(), rows())
    control.write("DELETE FROM batch WHERE id = :id", id=ids[1])
    assert control.waiting(log) == [1]
    assert control.waiting(log, after_seq=1) == []
    assert control.waiting(log, after_seq=2) == [3]


def test_attempts_are_counted_and_given_back_never_below_none(control: Control) -> None:
    log, ids = control.journalled(rows(), rows())
    control.journal.count_attempt(ids)
    control.journal.count_attempt(ids[:1])
    control.journal.give_back_attempt(ids)
    control.journal.give_back_attempt(ids[1:])
    found = control.journal.waiting(log, after_seq=0, max_batches=9, max_bytes=99)
    assert [b.attempts for b in found] == [1, 0]


def test_marking_drops_payloads_and_moves_the_log_once(control: Control) -> None:
    log, ids = control.journalled(rows(), rows(), rows())
    for _ in range(2):
        control.journal.mark_merged(ids[:2], rows_changed=5)
    assert (control.log().merged_seq, control.waiting(log), control.waiting(log, 2)) == (2, [], [3])
    assert [control.journal.payload(i) for i in ids] == [None, None, b"arrow"]
    assert control.runs.runs(limit=1)[0].rows_merged == 5
    assert control.journal.batch_at(log, 2) == ids[1]


def test_a_late_mark_of_an_earlier_batch_moves_nothing_back(control: Control) -> None:
    _, ids = control.journalled(rows(), rows())
    control.journal.mark_merged(ids, rows_changed=1)
    control.journal.mark_merged(ids[:1], rows_changed=1)
    assert control.log().merged_seq == 2
    assert control.runs.runs(limit=1)[0].rows_merged == 1


def test_a_new_log_drops_what_waits_and_asks_for_a_reconciliation_into_it_alone(control: Control) -> None:
    log, ids = control.journalled(rows(), rows(), rows(SIDE))
    control.journal.mark_merged(ids[:1], rows_changed=0)
    assert control.journal.begin_new_log(log, "the store was restored") is True
    fresh = control.log()
    assert fresh.log_id != log.log_id
    assert (fresh.seq, fresh.merged_seq) == (0, 0)
    assert control.count("batch", "state = 'pending'") == control.count(batch_payload.name) == 1
    assert control.log(SIDE).seq == 1
    claimed = control.claimed()
    assert (claimed.reconcile, claimed.reconcile_into) == (None, (MAIN,))
    control.append(claimed, rows())
    assert control.waiting(control.log()) == [1]


def test_a_log_is_ended_once(control: Control) -> None:
    log, _ = control.journalled(rows())
    assert control.journal.begin_new_log(log, "first") is True
    before = control.log()
    control.release(control.claimed())
    assert control.journal.begin_new_log(log, "second") is False
    assert control.log() == before
    assert control.feeds.is_asked_again(control.feed()) is False


def test_a_worker_that_merged_a_batch_of_an_ended_log_marks_nothing(control: Control) -> None:
    log, ids = control.journalled(rows(), rows())
    control.journal.begin_new_log(log, "restored")
    control.append(control.claimed(), rows())
    control.journal.mark_merged(ids, rows_changed=7)
    assert control.log().merged_seq == 0
    assert control.waiting(control.log()) == [1]


def test_a_reconciliation_begun_before_the_new_log_does_not_answer_for_it(control: Control) -> None:
    from headrace.ports import FeedState, Reconciliation

    log, _ = control.journalled(rows())
    control.journal.begin_new_log(log, "restored")
    first = control.claimed()
    going = Reconciliation(id="r1", full=True, into=MAIN)
    control.append(first, rows(), state=FeedState(reconciliation=going))
    control.journal.begin_new_log(control.log(), "restored again")
    control.append(first, rows(), finished_reconcile=going)
    control.release(first)
    second = control.claimed()
    assert second.reconcile_into == (MAIN,)
    control.append(second, rows(), finished_reconcile=Reconciliation(id="r2", full=True, into=MAIN))
    control.release(second)
    assert control.claimed().reconcile_into == ()


def test_logs_are_those_of_active_feeds_of_the_model(control: Control) -> None:
    control.journalled(rows())
    control.append(control.claimed("purchases"), rows())
    assert [log.source_id for log in control.journal.logs(MAIN, USERS_MODEL)] == ["purchases", "users"]
    assert control.journal.logs(MAIN, ModelId("accounts")) == ()
    assert control.journal.logs(DataSourceId("nowhere"), USERS_MODEL) == ()
    control.apply(USERS)
    assert [log.source_id for log in control.journal.logs(MAIN, USERS_MODEL)] == ["users"]


def test_rejected_rows_are_replayed_by_key_or_discarded(control: Control) -> None:
    claimed = control.claimed()
    keys = ('["1"]', '["2"]', "[null]")
    control.append(claimed, rejected=[rejected(key) for key in keys])
    control.release(claimed)
    assert control.runs.replay(source_id="users") == [control.feed()]
    assert [r.key for r in control.feeds.key_requests(control.feed(), limit=9)] == [("1",), ("2",)]
    one, *_ = control.runs.rejected(limit=5)
    assert control.runs.discard(actor="me", ids=[one.id]) == 1
    assert control.runs.discard(actor="me", source_id="users") == 2
    assert control.runs.rejected(limit=5) == []
