"""What a claim tells and a release leaves in few statements is what many would have."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from headrace.control.engine import reading, writing
from headrace.control.key_requests import add_key_requests
from headrace.control.tables import feed
from headrace.domain.schedule import next_due
from headrace.domain.vocabulary import FeedClass, RunId
from headrace.ports import ClaimedFeed, FeedMemory, NextPoll, PollOutcome
from tests.conformance.control.project import LEASE_S, Control, rejected, rows

QUIET = PollOutcome(run_id=RunId("none"), succeeded=True, has_run=False)
SCHEDULES: list[dict[str, Any]] = [
    {"every_s": 864_000.0, "cron": None},
    {"every_s": None, "cron": "0 6 1 1 *"},
    {"every_s": None, "cron": None},
]


def test_a_claim_tells_what_waits_for_the_feed(control: Control) -> None:
    first = control.claimed()
    assert (first.has_requests, first.has_open_rejected, first.has_pending) == (False, False, False)
    control.append(first, rows(), rejected=[rejected()])
    control.release(first)
    control.asked("users", ("1",))
    second = control.claimed()
    assert (second.has_requests, second.has_open_rejected, second.has_pending) == (True, True, True)
    assert not control.claimed("purchases").has_requests


def test_a_claim_that_waited_for_who_asks_for_keys_tells_of_them(control: Control) -> None:
    """It clears `again`, so that nobody else would."""
    with ThreadPoolExecutor(1) as worker:
        with writing(control.engine) as asking:
            add_key_requests(asking, control.feed(), [("1",)])
            claiming = worker.submit(control.claimed)
            _await_waiting(control, asking)
        assert claiming.result().has_requests


def _await_waiting(control: Control, asking: sa.Connection) -> None:
    """Somebody waits for a lock of this transaction; SQLite cannot tell, and makes everybody wait."""
    if control.engine.dialect.name == "sqlite":
        return
    waits = sa.text("SELECT count(*) FROM pg_stat_activity WHERE :me = ANY(pg_blocking_pids(pid))")
    me = asking.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
    while True:
        with reading(control.engine) as looking:
            if looking.execute(waits, {"me": me}).scalar_one():
                return


def test_a_run_is_ended_by_no_worker_that_has_lost_its_lease(control: Control) -> None:
    slow = control.claimed()
    control.expire()
    taker = control.claimed()
    control.append(taker, rows(), run="of the taker")
    control.feeds._end_lost_run(slow.lease)
    (found,) = control.runs.runs(limit=5)
    assert (found.id, found.state) == ("of the taker", "running")


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["every", "cron", "none"])
def test_a_poll_that_found_nothing_leaves_what_any_other_would(
    control: Control, schedule: dict[str, Any]
) -> None:
    _schedule(control, **schedule)
    memory = FeedMemory(
        fence_state='{"fence": 1}', source_seen='{"seen": 1}', feed_class=FeedClass.EXACT, class_reason=""
    )
    left = []
    for planned in (False, True):
        control.release(control.claimed(), error="for a moment")
        claimed = control.claimed()
        outcome = replace(QUIET, next=_planned(claimed) if planned else None, memory=memory)
        assert control.feeds.release(claimed.lease, outcome) is False
        left.append(_row(control))
    plain, fast = left
    assert fast == plain | {"epoch": plain["epoch"] + 2}


def test_a_poll_that_found_nothing_follows_a_schedule_that_was_changed_meanwhile(control: Control) -> None:
    claimed = control.claimed()
    planned = _planned(claimed)
    _schedule(control, every_s=864_000.0, cron=None)
    assert control.feeds.release(claimed.lease, replace(QUIET, next=planned)) is False
    (due,) = _row(control, "next_due").values()
    assert due == next_due(control.feed(), every_s=864_000.0, cron=None, after=datetime.now(UTC))


def test_a_poll_that_found_nothing_is_told_who_asked_again(control: Control) -> None:
    claimed = control.claimed()
    assert control.feeds.claim(control.feed(), lease_s=LEASE_S) is None
    assert control.feeds.release(claimed.lease, replace(QUIET, next=_planned(claimed))) is True


def test_a_poll_that_lost_its_lease_leaves_nothing(control: Control) -> None:
    slow = control.claimed()
    control.expire()
    control.claimed()
    before = _row(control)
    assert control.feeds.release(slow.lease, replace(QUIET, next=_planned(slow))) is False
    assert _row(control) == before


def test_many_polls_that_find_nothing_lose_no_request(control: Control) -> None:
    """Every request is answered by a poll that is claimed after it, whoever polls, and however often."""
    asked, seen, done = 30, set[int](), threading.Event()

    def poll() -> None:
        while not done.is_set() or control.feeds.is_asked_again(control.feed()):
            claimed = control.feeds.claim(control.feed(), lease_s=LEASE_S)
            if claimed is None:
                continue
            if claimed.has_requests:
                found = control.feeds.key_requests(control.feed(), limit=100)
                seen.update(int(request.key[0]) for request in found)
                control.append(claimed, answered_requests=[request.id for request in found])
            control.feeds.release(claimed.lease, replace(QUIET, next=_planned(claimed)))

    with ThreadPoolExecutor(3) as workers:
        polling = [workers.submit(poll) for _ in range(3)]
        for number in range(asked):
            control.asked("users", (str(number),))
        done.set()
        for one in polling:
            one.result()
    assert seen == set(range(asked))


def _planned(claimed: ClaimedFeed) -> NextPoll:
    every_s, cron = claimed.every_s, claimed.cron
    at = next_due(claimed.lease.feed_id, every_s=every_s, cron=cron, after=claimed.claimed_at)
    return NextPoll(every_s=every_s, cron=cron, at=at)


def _schedule(control: Control, **schedule: Any) -> None:
    with writing(control.engine) as connection:
        connection.execute(sa.update(feed).where(feed.c.id == control.feed()).values(schedule))


def _row(control: Control, *names: str) -> dict[str, Any]:
    """The feed's columns, times of the day rounded to what both ways have in common."""
    with reading(control.engine) as connection:
        row = connection.execute(sa.select(feed).where(feed.c.id == control.feed())).one()._mapping
    moving = {"checked_at", "last_success_at"}
    found = {name: value for name, value in row.items() if name not in moving}
    for name in moving:
        assert row[name] is None or datetime.now(UTC) - row[name] < timedelta(minutes=1)
    return {name: found[name] for name in names} if names else found
