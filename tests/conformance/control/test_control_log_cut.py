"""Logs of data sources that take no batches: cut and resumed (the ports `Feeds` and `Journal`)."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from headrace.control.engine import writing
from headrace.control.tables import batch
from headrace.domain.vocabulary import BatchKind, DataSourceId
from headrace.errors import LeaseLostError
from headrace.ports import ClaimedFeed, FeedState, NewBatch, Reconciliation
from tests.conformance.control.project import MAIN, SIDE, Control, rows

BOTH = frozenset({MAIN, SIDE})


def waits(control: Control, data_source_id: DataSourceId, *, seconds: float, attempts: int = 0) -> None:
    """What is unmerged there was journalled so long ago, and tried so often."""
    of = sa.and_(batch.c.state == "pending", batch.c.data_source_id == data_source_id)
    at = control.seen().seen_at - timedelta(seconds=seconds)
    with writing(control.engine) as connection:
        connection.execute(sa.update(batch).where(of).values(journalled_at=at, attempts=attempts))


def claimed_with_both(control: Control, *more: NewBatch) -> ClaimedFeed:
    claimed = control.claimed()
    control.append(claimed, rows(MAIN), rows(MAIN), rows(SIDE), *more)
    return claimed


def test_a_log_that_nobody_could_try_for_a_while_is_cut_and_no_other(control: Control) -> None:
    claimed = claimed_with_both(control)
    old = control.log(SIDE)
    waits(control, SIDE, seconds=60)
    assert control.feeds.cut_stalled(claimed.lease, BOTH) == {SIDE}
    assert control.count("batch", "state = 'pending'") == control.count("batch_payload") == 2
    assert control.log(SIDE).cut
    assert control.log(SIDE).log_id != old.log_id
    assert not control.log(MAIN).cut
    assert control.seen().cut == (SIDE,)
    assert control.feeds.cut_stalled(claimed.lease, BOTH) == frozenset()


def test_only_those_asked_about_are_cut(control: Control) -> None:
    claimed = claimed_with_both(control)
    waits(control, SIDE, seconds=60)
    assert control.feeds.cut_stalled(claimed.lease, {MAIN}) == frozenset()


def test_a_log_that_merges_is_not_cut_however_long_its_batches_wait(control: Control) -> None:
    claimed = control.claimed()
    first, *_ = control.append(claimed, rows(MAIN), rows(MAIN), rows(SIDE))
    waits(control, MAIN, seconds=60)
    control.journal.mark_merged([first], rows_changed=1)
    assert control.feeds.cut_stalled(claimed.lease, {MAIN}) == frozenset()


def test_a_batch_that_is_tried_has_more_time(control: Control) -> None:
    claimed = claimed_with_both(control)
    waits(control, MAIN, seconds=60, attempts=3)
    assert control.feeds.cut_stalled(claimed.lease, {MAIN}) == frozenset()
    waits(control, MAIN, seconds=3600, attempts=3)
    assert control.feeds.cut_stalled(claimed.lease, {MAIN}) == {MAIN}


def test_who_lost_the_lease_cuts_nothing(control: Control) -> None:
    claimed = claimed_with_both(control)
    waits(control, SIDE, seconds=60)
    control.expire()
    control.claimed()
    with pytest.raises(LeaseLostError):
        control.feeds.cut_stalled(claimed.lease, BOTH)
    assert not control.log(SIDE).cut


def test_what_drops_a_customer_outlives_the_cut(control: Control) -> None:
    drop = NewBatch(
        data_source_id=SIDE, kind=BatchKind.DROP, rows=0, payload=b"", meta={"customers": ["c"], "epoch": 4}
    )
    claimed = claimed_with_both(control, drop)
    waits(control, SIDE, seconds=60)
    control.feeds.cut_stalled(claimed.lease, BOTH)
    (left,) = control.journal.waiting(control.log(SIDE), after_seq=0, max_batches=9, max_bytes=99)
    assert (left.kind, left.seq, left.meta["customers"]) == (BatchKind.DROP, 1, ["c"])


def test_the_next_reader_is_told_and_reconciles_nothing_into_it_until_it_is_resumed(control: Control) -> None:
    claimed = claimed_with_both(control)
    waits(control, SIDE, seconds=60)
    control.feeds.cut_stalled(claimed.lease, BOTH)
    control.release(claimed)
    while_cut = control.claimed()
    assert (while_cut.cut, while_cut.reconcile_into) == ((SIDE,), ())
    assert control.journal.resume_log(control.log(SIDE)) is True
    assert control.release(while_cut) is True
    resumed = control.claimed()
    assert (resumed.cut, resumed.reconcile_into) == ((), (SIDE,))
    assert control.journal.resume_log(control.log(SIDE)) is False


def test_no_reconciliation_begun_before_a_resumption_answers_for_it(control: Control) -> None:
    """Who holds the lease at the resumption leaves the data source out until it gives the lease back."""
    claimed = claimed_with_both(control)
    going = Reconciliation(id="r1", full=True, into=SIDE)
    control.append(claimed, state=FeedState(reconciliation=going))
    waits(control, SIDE, seconds=60)
    control.feeds.cut_stalled(claimed.lease, BOTH)
    control.append(claimed, finished_reconcile=going)
    control.journal.resume_log(control.log(SIDE))
    control.append(claimed, finished_reconcile=going)
    control.release(claimed)
    assert control.claimed().reconcile_into == (SIDE,)
