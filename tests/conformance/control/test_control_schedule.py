"""Due feeds are sent once; what was lost is found; what has had its time is removed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from headrace.control.sweep import Removed, Retention
from headrace.domain.vocabulary import SourceId
from tests.conformance.control.project import (
    LEASE_S,
    MAIN,
    PURCHASES,
    SIDE,
    USERS,
    USERS_MODEL,
    Control,
    rejected,
    rows,
)

PAST = "2020-01-01T00:00:00.000Z"
AT_ONCE = Retention(merged_batches_s=-1, runs_s=-1, triggers_s=-1, closed_rejected_s=-1)


def test_a_tick_is_sent_once_by_any_number_of_schedulers(bare: Control) -> None:
    bare.apply(*(replace(USERS, source_id=SourceId(f"source_{n}")) for n in range(40)))
    start = threading.Barrier(4)

    def tick(_: int) -> list[str]:
        start.wait()
        return [str(i) for _ in range(10) for i in bare.schedule.claim_due(3)]

    with ThreadPoolExecutor(4) as pool:
        sent = [i for found in pool.map(tick, range(4)) for i in found]
    assert len(sent) == len(set(sent)) == 40


@pytest.mark.parametrize(
    ("changes", "is_due"),
    [
        ({}, True),
        ({"failures": 1}, False),  # its next poll reconciles, when that is due
        ({"every_s": None}, False),  # polled only when asked for
        ({"every_s": None, "cron": "0 3 * * *"}, True),
    ],
)
def test_a_feed_is_sent_when_its_reconciliation_is_due_however_rarely_it_is_polled(
    control: Control, changes: dict[str, Any], is_due: bool
) -> None:
    assert len(control.schedule.claim_due(9)) == 2
    control.release(control.claimed())
    assert control.schedule.claim_due(9) == []
    control.set_feed(reconcile_due_at=PAST, **changes)
    assert control.schedule.claim_due(9) == ([control.feed()] if is_due else [])


def test_at_most_the_limit_is_sent_the_longest_due_first(control: Control) -> None:
    control.set_feed("purchases", next_due=PAST)
    assert control.schedule.claim_due(1) == [control.feed("purchases")]
    assert control.schedule.claim_due(9) == [control.feed("users")]


def test_a_nudge_that_nobody_claimed_is_sent_again(control: Control) -> None:
    assert len(control.schedule.claim_due(9)) == 2
    control.set_feed(sent_at=PAST)
    assert control.schedule.claim_due(9) == [control.feed()]


def test_a_feed_is_sent_when_due_and_not_while_polled_paused_or_ended(control: Control) -> None:
    claimed = control.claimed()
    control.commands.pause("purchases", reason="x")
    assert control.schedule.claim_due(9) == []
    control.release(claimed)
    assert control.schedule.claim_due(9) == []
    control.asked("users")
    assert control.schedule.claim_due(9) == [control.feed()]
    control.apply(PURCHASES)
    assert control.schedule.claim_due(9) == []


def test_a_feed_without_a_schedule_is_sent_when_asked_and_when_its_poll_died(control: Control) -> None:
    control.apply(replace(USERS, every_s=None))
    assert control.schedule.claim_due(9) == []
    assert control.asked("users") == [control.feed()]
    assert control.schedule.claim_due(9) == [control.feed()]
    control.append(control.claimed(), rows())
    control.expire()
    assert control.sweep.expired_leases() == [control.feed()]
    assert control.runs.runs(limit=1)[0].state == "incomplete"
    assert control.schedule.claim_due(9) == [control.feed()]


def test_a_trigger_with_keys_asks_for_exactly_these(control: Control) -> None:
    assert control.asked("users", ("1", "a"), ("2", "b")) == [control.feed()]
    assert [r.key for r in control.feeds.key_requests(control.feed(), limit=9)] == [("1", "a"), ("2", "b")]
    assert control.feeds.is_asked_again(control.feed())


def test_unmerged_batches_are_found_when_old_or_when_their_backoff_is_over(control: Control) -> None:
    _, ids = control.journalled(rows(), rows())
    assert control.sweep.unmerged(older_than_s=60) == []
    assert control.sweep.unmerged(older_than_s=-1) == [(MAIN, USERS_MODEL)]
    control.journal.back_off(ids[:1], "x", delay_s=60)
    assert control.sweep.unmerged(older_than_s=-1) == []
    control.journal.back_off(ids[:1], "x", delay_s=-1)
    assert control.sweep.unmerged(older_than_s=60) == [(MAIN, USERS_MODEL)]
    control.journal.mark_merged(ids, rows_changed=0)
    assert control.sweep.unmerged(older_than_s=-1) == []


def test_retention_keeps_the_last_merged_batch_of_each_log_and_what_waits(control: Control) -> None:
    log, ids = control.journalled(rows(), rows(), rows(SIDE), rows())
    control.journal.mark_merged([ids[0], ids[1], ids[2]], rows_changed=0)
    assert control.sweep.remove_old(Retention()) == Removed(batches=0, runs=0, triggers=0, rejected=0)
    assert control.sweep.remove_old(AT_ONCE).batches == 1
    assert [control.journal.batch_at(log, seq) for seq in (1, 2, 3)] == [None, ids[1], ids[3]]
    assert control.journal.batch_at(control.log(SIDE), 1) == ids[2]


def test_retention_removes_ended_runs_and_closed_rejected_rows(control: Control) -> None:
    control.journalled(rows())
    live = control.claimed()
    control.append(live, rejected=[rejected(), rejected('["2"]')])
    control.append(live, seen_keys=['["2"]'])
    removed = control.sweep.remove_old(AT_ONCE)
    assert (removed.runs, removed.rejected) == (1, 1)
    assert [r.state for r in control.runs.runs(limit=9)] == ["running"]
    assert control.seen().rejected == 1


def test_status_tells_what_waits_and_how_each_feed_is_doing(control: Control) -> None:
    claimed = control.claimed()
    control.append(claimed, rows(), rows(SIDE))
    purchases, users = control.status.feed_status()
    assert (purchases.source_id, purchases.pending_batches, purchases.polling) == ("purchases", 0, False)
    assert (users.pending_batches, users.pending_rows, users.pending_bytes) == (2, 4, 10)
    assert (users.polling, users.pending_since is not None, users.reconciling) == (True, True, False)
    control.commands.request_reconcile("users", full=False, confirm=False)
    assert control.seen().reconciling
    assert control.feeds.claim(control.feed(), lease_s=LEASE_S) is None
