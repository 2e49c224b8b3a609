"""The port `Feeds`: leases, epochs, and the transaction that journals a page."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from headrace.control import append
from headrace.control.engine import writing
from headrace.control.feeds import SqlFeeds
from headrace.control.tables import routing_version, run
from headrace.domain.position import Position
from headrace.domain.vocabulary import FeedClass, FeedId, RunId
from headrace.errors import InvariantError, LeaseLostError, RoutingChangedError
from headrace.ports import FeedState, Reconciliation
from tests.conformance.control.project import LEASE_S, MAIN, PURCHASES, SIDE, USERS, Control, rejected, rows

STATE = FeedState(
    saved=Position("2026-01-01", None),
    lead=Position("2026-01-02", ("1", "b")),
    fence_state='{"xmin": 7}',
    first_stream_done=True,
    digests={"lane": "abc"},
    reconciliation=Reconciliation(id="r1", full=True, into=MAIN, after=("1",), incomplete=True),
)


def test_a_claim_raises_the_epoch_and_gives_the_state_as_it_was_journalled(control: Control) -> None:
    first = control.claimed()
    control.append(first, rows(), state=STATE)
    control.release(first)
    second = control.claimed()
    assert second.lease.epoch == first.lease.epoch + 1
    assert second.lease.lease_id != first.lease.lease_id
    assert (first.state, second.state) == (FeedState(), STATE)
    assert (second.source_id, second.app_id, second.definition_version) == ("users", "shop_db", 1)
    assert second.fingerprint == "columns-1"


def test_a_claim_of_a_feed_that_is_polled_is_refused_and_seen_at_the_release(control: Control) -> None:
    claimed = control.claimed()
    assert control.feeds.claim(control.feed(), lease_s=LEASE_S) is None
    assert control.release(claimed) is True
    assert control.release(control.claimed()) is False


def test_an_expired_lease_is_taken_over_and_its_run_is_incomplete(control: Control) -> None:
    dead = control.claimed()
    control.append(dead, rows(), run="dead")
    control.expire()
    assert control.claimed().lease.epoch == dead.lease.epoch + 1
    (found,) = control.runs.runs(limit=5)
    assert (found.id, found.state, found.rows_read) == ("dead", "incomplete", 2)


def test_paused_ended_and_unknown_feeds_are_not_claimed(control: Control) -> None:
    users = control.feed()
    control.commands.pause("users", reason="maintenance")
    assert control.feeds.claim(users, lease_s=LEASE_S) is None
    control.apply()
    assert control.feeds.claim(users, lease_s=LEASE_S) is None
    assert control.feeds.claim(FeedId("nobody"), lease_s=LEASE_S) is None


def test_a_stale_lease_writes_nothing(control: Control) -> None:
    stale = control.claimed()
    control.append(stale, rows(), rejected=[rejected()])
    control.expire()
    fresh = control.claimed()
    before = [control.count(t) for t in ("batch", "batch_payload", "run", "rejected_row", "feed_log")]
    with pytest.raises(LeaseLostError):
        control.append(stale, rows(), rows(SIDE), run="zombie", rejected=[rejected('["2"]')], cursor="9999")
    with pytest.raises(LeaseLostError):
        control.feeds.renew(stale.lease, lease_s=LEASE_S)
    assert control.release(stale) is False
    after = [control.count(t) for t in ("batch", "batch_payload", "run", "rejected_row", "feed_log")]
    assert after == before
    assert control.seen().lead == Position("2026-01-01", ("1",))
    assert control.append(fresh, rows())


def test_an_append_renews_the_lease(control: Control) -> None:
    claimed = control.claimed()
    control.expire()
    control.append(claimed, rows())
    assert control.feeds.claim(control.feed(), lease_s=LEASE_S) is None


def test_batches_are_numbered_densely_in_each_data_source_in_their_order(control: Control) -> None:
    claimed = control.claimed()
    first = control.append(claimed, rows(MAIN), rows(SIDE), rows(MAIN))
    second = control.append(claimed, rows(SIDE), rows(MAIN))
    log = control.log(MAIN)
    assert [control.journal.batch_at(log, seq) for seq in (1, 2, 3, 4)] == [
        first[0],
        first[2],
        second[1],
        None,
    ]
    side = control.log(SIDE)
    assert [control.journal.batch_at(side, seq) for seq in (1, 2)] == [first[1], second[0]]
    assert (log.seq, side.seq, control.feeds.written_data_sources(control.feed())) == (3, 2, (MAIN, SIDE))


def test_numbers_stay_dense_under_threads_that_take_leases_from_each_other(control: Control) -> None:
    """Eight workers over two feeds, each of which steals the lease while the other still writes."""
    feeds = {name: control.feed(name) for name in ("users", "purchases")}
    start, lost = threading.Barrier(8), []

    def work(number: int) -> int:
        name = ("users", "purchases")[number % 2]
        start.wait()
        written = 0
        for _ in range(3):
            control.expire(name)
            claimed = control.feeds.claim(feeds[name], lease_s=LEASE_S)
            for _ in range(3):
                try:
                    if claimed is None:
                        break
                    control.append(claimed, rows(MAIN), rows(SIDE), rows(MAIN))
                    written += 2
                except LeaseLostError as error:
                    lost.append(error)
                    break
        return written

    with ThreadPoolExecutor(8) as pool:
        written = sum(pool.map(work, range(8)))
    assert written > 0
    total = 0
    for name in feeds:
        log = control.log(MAIN, name)
        assert control.waiting(log) == list(range(1, log.seq + 1))[:100]
        total += log.seq
    assert total == written


def test_a_page_resolved_by_an_older_routing_is_refused_whole(control: Control) -> None:
    claimed = control.claimed()
    version = control.routes.version()
    control.append(claimed, rows(), routing_version=version)
    control.write("UPDATE routing_version SET version = version + 1")
    with pytest.raises(RoutingChangedError):
        control.append(claimed, rows(), routing_version=version, cursor="9999")
    assert (control.log().seq, control.seen().lead) == (1, Position("2026-01-01", ("1",)))
    control.append(claimed, rows(), routing_version=version + 1)


def test_routing_cannot_change_while_a_page_is_being_journalled(control: Control) -> None:
    """The change waits for the append's commit: it is not visible inside, and it is afterwards."""
    claimed, changed, held = control.claimed(), threading.Event(), threading.Event()
    version = control.routes.version()

    def change() -> None:
        held.wait()
        with writing(control.engine) as connection:
            connection.execute(sa.update(routing_version).values(version=99))
        changed.set()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(change)
        with writing(control.engine) as connection:
            append.open_entry(connection, claimed.lease, lease_s=LEASE_S)
            append.hold_routing(connection, version)
            held.set()
            assert not changed.wait(0.3)
        done.result(timeout=20)
    assert control.routes.version() == 99


def test_a_run_is_made_by_its_first_entry_and_counts_all_of_them(control: Control) -> None:
    claimed = control.claimed()
    control.append(claimed, rows(), rows(SIDE), rejected=[rejected()], cursor="a")
    control.append(claimed, rows(), cursor="b")
    (live,) = control.runs.runs(limit=5, source_id="users")
    assert (live.state, live.rows_read, live.rows_journalled, live.rejected) == ("running", 6, 6, 1)
    assert (live.started, live.ended) == (None, Position("b", ("1",)))
    assert control.seen().live_run == live.id
    control.release(claimed)
    (ended,) = control.runs.runs(limit=5)
    assert (ended.state, ended.error) == ("succeeded", None)
    assert ended.ended_at is not None


def test_a_poll_that_found_nothing_leaves_no_run_and_one_that_failed_does(control: Control) -> None:
    claimed = control.claimed()
    control.append(claimed, state=FeedState(fence_state="{}"))
    control.release(claimed)
    assert control.runs.runs(limit=5) == []
    control.release(control.claimed(), error="no route to host")
    (failed,) = control.runs.runs(limit=5)
    assert (failed.state, failed.error, failed.rows_read) == ("failed", "no route to host", 0)


def test_a_feed_has_at_most_one_live_run(control: Control) -> None:
    control.append(control.claimed(), rows(), run="one")
    live = {
        "feed_id": control.feed(),
        "trigger": "x",
        "state": "running",
        "started_at": "2026-01-01T00:00:00Z",
    }
    with pytest.raises(InvariantError):
        control.write(
            "INSERT INTO run (id, feed_id, trigger, state, started_at)"
            " VALUES ('two', :feed_id, :trigger, :state, :started_at)",
            **live,
        )
    assert control.count(run.name) == 1


def test_success_plans_the_next_tick_and_failure_a_retry(control: Control) -> None:
    control.release(control.claimed(), error="timed out")
    failed = control.seen()
    assert (failed.failures, failed.last_error, failed.last_success_at) == (1, "timed out", None)
    assert failed.next_due is not None
    assert failed.next_due - failed.seen_at <= timedelta(seconds=2)
    control.release(control.claimed(), error="timed out")
    assert control.seen().failures == 2
    control.release(control.claimed())
    good = control.seen()
    assert (good.failures, good.last_error) == (0, None)
    assert good.next_due is not None
    assert timedelta(0) < good.next_due - good.seen_at <= timedelta(seconds=60)
    assert good.checked_at == good.last_success_at


def test_drift_pauses_the_feed_until_a_new_apply_or_a_person(control: Control) -> None:
    control.release(control.claimed(), error="column amount is gone", stop=True)
    assert (control.seen().paused, control.seen().paused_reason) == (True, "column amount is gone")
    assert control.feeds.claim(control.feed(), lease_s=LEASE_S) is None
    assert control.commands.resume("users") == [control.feed()]
    assert control.claimed().reconcile == "full", "the source may hold anything by now"


def test_failures_that_no_repetition_mends_pause_the_feed_when_there_are_so_many(control: Control) -> None:
    feeds = control.feeds = SqlFeeds(control.engine, pause_after=3)
    for _ in range(2):
        control.release(control.claimed(), error="no right to read")
    control.release(control.claimed())
    for _ in range(2):
        control.release(control.claimed(), error="no right to read")
        control.release(control.claimed(), error="the server is away", retryable=True)
    assert not control.seen().paused, "one that succeeded is between them, and an outage pauses nothing"
    control.release(control.claimed(), error="no right to read")
    seen = control.seen()
    assert (seen.paused, seen.stopped_by_failures, seen.stopped_by_drift) == (True, True, False)
    assert seen.paused_reason == ("3 polls in a row failed, which no repetition mends: no right to read")
    assert seen.paused_at is not None
    assert seen.seen_at - seen.paused_at < timedelta(seconds=60)
    assert feeds.claim(control.feed(), lease_s=LEASE_S) is None
    assert control.schedule.claim_due(9) == [control.feed("purchases")]


def test_outages_pause_no_feed_however_long_they_last(control: Control) -> None:
    control.feeds = SqlFeeds(control.engine, pause_after=3)
    for _ in range(20):
        control.release(control.claimed(), error="the server is away", retryable=True)
    assert (control.seen().failures, control.seen().paused) == (20, False)


def test_no_number_of_failures_pauses_where_that_is_turned_off(control: Control) -> None:
    control.feeds = SqlFeeds(control.engine, pause_after=0)
    for _ in range(5):
        control.release(control.claimed(), error="no right to read")
    assert (control.seen().failures, control.seen().paused) == (5, False)


@pytest.mark.parametrize("mended", ["resumed", "applied"])
def test_a_feed_that_failures_paused_begins_to_count_anew(control: Control, mended: str) -> None:
    control.feeds = SqlFeeds(control.engine, pause_after=2)
    for _ in range(2):
        control.release(control.claimed(), error="no right to read")
    assert control.seen().paused
    if mended == "resumed":
        assert control.commands.resume("users") == [control.feed()]
    else:
        control.apply(USERS, PURCHASES)
    control.release(control.claimed(), error="no right to read")
    seen = control.seen()
    assert (seen.paused, seen.paused_at, seen.paused_reason) == (False, None, None)


def test_failures_that_an_older_process_ended_are_not_counted_on(control: Control) -> None:
    control.feeds = SqlFeeds(control.engine, pause_after=2)
    control.release(control.claimed(), error="no right to read")
    control.set_feed(failures=0)  # as a poll of the last release leaves it, which knows no lasting ones
    control.release(control.claimed(), error="no right to read")
    assert not control.seen().paused


def test_the_class_of_the_last_page_stays(control: Control) -> None:
    claimed = control.claimed()
    control.append(claimed, rows(), feed_class=FeedClass.BOUNDED, class_reason="a standby")
    control.append(claimed, rows())
    assert (control.seen().feed_class, control.seen().class_reason) == (FeedClass.BOUNDED, "a standby")


def test_a_rejected_row_is_open_once_until_its_key_is_seen(control: Control) -> None:
    claimed = control.claimed()
    control.append(claimed, rejected=[rejected(), rejected('["2"]')])
    control.append(claimed, rejected=[rejected(code="too_long")])
    first, second = control.runs.rejected(limit=5)
    assert (first.key, first.code, first.attempts) == (("1",), "too_long", 2)
    assert (second.key, second.attempts, control.seen().rejected) == (("2",), 1, 2)
    assert control.feeds.open_rejected_keys(control.feed()) == {'["1"]', '["2"]'}
    control.append(claimed, seen_keys=['["1"]', '["3"]', '["2"]'], rejected=[rejected('["2"]')])
    assert control.feeds.open_rejected_keys(control.feed()) == {'["2"]'}
    assert [r.key for r in control.runs.rejected(limit=5, state="resolved")] == [("1",)]


def test_an_answer_does_not_meet_a_request_made_after_it_was_fetched(control: Control) -> None:
    users = control.feed()
    control.journal.request_keys(users, [("1",), ("ü", "b")])
    control.journal.request_keys(users, [("1",)])
    fetched = control.feeds.key_requests(users, limit=10)
    assert sorted(r.key for r in fetched) == [("1",), ("ü", "b")]
    claimed = control.claimed()
    control.journal.request_keys(users, [("1",)])
    control.append(claimed, answered_requests=[r.id for r in fetched])
    assert [r.key for r in control.feeds.key_requests(users, limit=10)] == [("1",)]
    assert control.release(claimed) is True


def test_data_sources_over_a_limit_of_batches_or_bytes_are_blocked(control: Control) -> None:
    claimed = control.claimed()
    ids = control.append(claimed, rows(MAIN), rows(MAIN), rows(SIDE, payload=b"x" * 100))
    users = control.feed()
    assert control.feeds.blocked_data_sources(users, max_batches=2, max_bytes=1000) == {MAIN}
    assert control.feeds.blocked_data_sources(users, max_batches=9, max_bytes=100) == {SIDE}
    control.journal.mark_merged(ids, rows_changed=0)
    assert control.feeds.blocked_data_sources(users, max_batches=1, max_bytes=1) == frozenset()


def test_a_reconciliation_answers_only_what_was_asked_before_it_began(control: Control) -> None:
    control.commands.request_reconcile("users", full=False, confirm=True)
    first = control.claimed()
    assert (first.reconcile, first.confirm) == ("keys", True)
    going = Reconciliation(id="r1", full=False)
    control.append(first, rows(), state=FeedState(reconciliation=going), confirmed=True)
    control.commands.request_reconcile("users", full=False, confirm=False)
    control.append(first, rows(), finished_reconcile=going)
    assert control.release(first) is True
    second = control.claimed()
    assert (second.reconcile, second.confirm) == ("keys", False)
    control.append(second, rows(), finished_reconcile=Reconciliation(id="r2", full=False))
    control.release(second)
    assert control.claimed().reconcile is None


def test_a_reconciliation_that_was_resumed_does_not_answer_a_request_made_meanwhile(control: Control) -> None:
    first = control.claimed()
    going = Reconciliation(id="r1", full=True)
    control.append(first, rows(), state=FeedState(reconciliation=going))
    control.release(first)
    control.commands.request_reconcile("users", full=True, confirm=False)
    resumed = control.claimed()
    control.append(resumed, rows(), finished_reconcile=going)
    assert control.release(resumed) is True
    assert control.claimed().reconcile == "full"


def test_keys_do_not_answer_a_request_for_values(control: Control) -> None:
    control.commands.request_reconcile("users", full=True, confirm=False)
    control.commands.request_reconcile("users", full=False, confirm=False)
    claimed = control.claimed()
    assert claimed.reconcile == "full"
    control.append(claimed, rows(), finished_reconcile=Reconciliation(id="r1", full=False))
    control.release(claimed)
    assert control.claimed().reconcile == "full"


def test_a_reconciliation_falls_due_by_its_interval(control: Control) -> None:
    assert control.claimed().reconcile is None
    control.set_feed(reconcile_due_at="2020-01-01T00:00:00.000Z")
    control.expire()
    due = control.claimed()
    assert due.reconcile == "keys"
    control.append(due, rows(), finished_reconcile=Reconciliation(id="r1", full=False))
    control.release(due)
    assert control.claimed().reconcile is None


def test_an_entry_of_a_run_that_is_another_feeds_is_not_confused(control: Control) -> None:
    control.append(control.claimed("users"), rows(), run="a")
    control.append(control.claimed("purchases"), rows(), run="b")
    found = {r.id: r.source_id for r in control.runs.runs(limit=5)}
    assert found == {RunId("a"): "users", RunId("b"): "purchases"}
