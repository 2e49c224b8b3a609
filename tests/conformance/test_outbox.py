"""What every data source's outbox does, on PostgreSQL and SQLite alike."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from headrace.domain.record_event import ChangeKind, RecordEvent
from headrace.domain.vocabulary import BatchKind, ModelId
from headrace.errors import LeaseLostError
from headrace.ports import KeyChunk, RecordStore
from headrace.ports.relaying import Outbox, Stream
from headrace.stores import open_store
from tests.conformance.store_rows import ACME, batch, keys, model, primary, prop, scope, secondary

USERS = primary({"user_id": "integer", "email": "email"})
VISITS = secondary(
    "visits",
    {"id": "integer", "visitor": "integer"},
    ("visitor", "user_id"),
    prop("visits", "integer", "count"),
)
MODEL = model(USERS, VISITS)
SINK = "headrace.records"
NOBODY: tuple[str, ...] = ()


def opened(url: str, **options: Any) -> RecordStore:
    place = {"data_source_id": "main", "url": url, "namespace": "headrace", "workspace": "w1"}
    return open_store(**place, schema="shop", **options)


@pytest.fixture
def store(store_url: str) -> Iterator[RecordStore]:
    store = opened(store_url, events=True)
    store.prepare([MODEL])
    yield store
    store.close()


@pytest.fixture
def outbox(store: RecordStore) -> Outbox:
    assert store.outbox is not None
    store.outbox.begin([SINK], [MODEL.id])
    return store.outbox


def put(store: RecordStore, *batches: Any, silent: tuple[str, ...] = NOBODY) -> None:
    """Each batch (source, rows) is applied, all of them in one transaction."""
    with store.merging(MODEL) as transaction:
        assert transaction is not None
        transaction.silence(silent)
        for source, rows in batches:
            transaction.apply_rows(scope(source), batch(source, rows))
        transaction.recompute()


def user(number: int, email: str | None = "a@b.c", **more: Any) -> tuple[Any, list[dict[str, Any]]]:
    return USERS, [{"user_id": number, "email": email, **more}]


def events(store: RecordStore) -> tuple[RecordEvent, ...]:
    assert store.outbox is not None
    return store.outbox.events(MODEL.id, after=0, limit=100)


def told(store: RecordStore) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(e.kind.value, json.loads(e.key)["user_id"], e.changed) for e in events(store)]


# --- which events there are ---------------------------------------------------------------------


def test_an_event_tells_the_record_after_the_change(store: RecordStore) -> None:
    put(store, user(1))
    (event,) = events(store)
    assert (event.kind, event.customer, event.model) == (ChangeKind.CREATED, ACME, "users")
    assert event.record is not None
    record = json.loads(event.record)
    assert record.pop("_created_at") == record.pop("_updated_at") == event.at
    assert record == {"user_id": 1, "email": "a@b.c", "visits": 0, "_invalid": None}


def test_what_does_not_differ_makes_no_event(store: RecordStore) -> None:
    put(store, user(1))
    put(store, user(1))
    put(store, user(1, "x@y.z"), user(1))
    put(store, user(2), user(2, None, _deleted=True))
    assert told(store) == [("created", 1, ())]


def test_changes_of_one_transaction_are_one_event(store: RecordStore) -> None:
    put(store, user(1), (VISITS, [{"id": 1, "visitor": 1}]), user(1, "x@y.z"))
    put(store, user(1, "q@y.z"), (VISITS, [{"id": 2, "visitor": 1}]))
    assert told(store) == [("created", 1, ()), ("updated", 1, ("email", "visits"))]


def test_a_recompute_makes_events_of_the_records_that_it_changes(store: RecordStore) -> None:
    put(store, user(1), user(2))
    put(store, (VISITS, [{"id": 1, "visitor": 1}, {"id": 2, "visitor": 3}]))
    assert told(store)[2:] == [("updated", 1, ("visits",))]


def test_a_deleted_record_is_told_by_its_key(store: RecordStore) -> None:
    put(store, user(1))
    put(store, user(1, None, _deleted=True))
    assert told(store)[-1] == ("deleted", 1, ())
    assert events(store)[-1].record is None


def test_what_a_reconciliation_removes_is_told(store: RecordStore) -> None:
    put(store, *(user(number) for number in range(1, 4)))
    with store.merging(MODEL) as transaction:
        chunk = KeyChunk(reconciliation="r", closes=True)
        transaction.apply_keys(scope(USERS), keys(USERS, [(1,), (2,)]), chunk)
        transaction.recompute()
    assert told(store)[3:] == [("deleted", 3, ())]


@pytest.mark.parametrize("kind", [BatchKind.ROWS, BatchKind.LOAD])
def test_a_first_load_makes_created_events_as_it_goes(
    store: RecordStore, kind: BatchKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.stores.loading.LEAST_ROWS", 1)
    for page in range(2):
        with store.merging(MODEL) as transaction:
            rows = [{"user_id": page * 10 + n} for n in range(3)]
            transaction.apply_rows(scope(USERS), batch(USERS, rows), kind=kind)
            transaction.recompute()
        assert len(events(store)) == 3 * (page + 1)
    assert {kind for kind, _, _ in told(store)} == {"created"}


def test_silenced_customers_make_no_event(store: RecordStore) -> None:
    put(store, user(1), silent=(ACME,))
    put(store, user(1, "x@y.z"))
    with store.merging(MODEL) as transaction:
        transaction.silence([ACME])
        transaction.drop_customer(scope(USERS), ACME, 1)
    assert told(store) == [("updated", 1, ("email",))]


def test_customers_who_are_dropped_aloud_are_told(store: RecordStore) -> None:
    put(store, user(1))
    with store.merging(MODEL) as transaction:
        transaction.drop_customer(scope(USERS), ACME, 0)
    assert told(store)[1:] == [("deleted", 1, ())]


def test_a_property_that_apply_adds_is_told(store: RecordStore) -> None:
    put(store, user(1), (VISITS, [{"id": 1, "visitor": 1}]))
    wider = secondary(
        "visits",
        {"id": "integer", "visitor": "integer"},
        ("visitor", "user_id"),
        prop("visits", "integer", "count"),
        prop("last", "integer", "max", "id"),
    )
    store.prepare([model(USERS, wider)])
    assert told(store)[1:] == [("updated", 1, ("last",))]


def test_a_transaction_that_is_rolled_back_leaves_no_event(store: RecordStore) -> None:
    with contextlib.suppress(KeyboardInterrupt), store.merging(MODEL) as transaction:
        assert transaction is not None
        transaction.apply_rows(scope(USERS), batch(*user(1)))
        raise KeyboardInterrupt
    assert events(store) == ()


# --- where there is an outbox -------------------------------------------------------------------


def test_a_data_source_without_events_has_no_outbox(store_url: str) -> None:
    store = opened(store_url)
    assert "_outbox" not in {change.table for change in store.prepare([MODEL])}
    put(store, user(1))
    assert store.outbox is None
    store.close()


def test_turning_events_on_and_off_again(store_url: str) -> None:
    silent, loud = opened(store_url), opened(store_url, events=True)
    silent.prepare([MODEL])
    put(silent, user(1))
    made = [(c.table, c.change) for c in loud.pending_changes([MODEL])]
    assert made == [("_outbox", "create"), ("_outbox_position", "create"), ("_outbox_aside", "create")]
    loud.prepare([MODEL])
    loud.outbox.begin([SINK], [MODEL.id])
    put(loud, user(2))
    assert silent.prepare([MODEL]) == ()  # what waits is not thrown away
    stream = Stream(sink=SINK, model=MODEL.id, holder="r1")
    loud.outbox.lease(stream, lease_s=60)
    loud.outbox.advance(stream, events(loud)[-1].seq, lease_s=60)
    assert {c.table for c in silent.prepare([MODEL])} == {"_outbox", "_outbox_position", "_outbox_aside"}
    put(silent, user(3))
    for store in (silent, loud):
        store.close()


# --- taking them out ----------------------------------------------------------------------------

MINE = Stream(sink=SINK, model=MODEL.id, holder="r1")
THEIRS = Stream(sink=SINK, model=MODEL.id, holder="r2")


def test_one_relay_has_a_stream_at_a_time(store: RecordStore, outbox: Outbox) -> None:
    put(store, user(1))
    assert outbox.waiting(SINK) == (MODEL.id,)
    assert outbox.lease(MINE, lease_s=60) is not None
    assert outbox.lease(THEIRS, lease_s=60) is None
    assert outbox.waiting(SINK) == ()
    outbox.release(MINE)
    assert outbox.lease(THEIRS, lease_s=60) is not None


def test_a_relay_whose_lease_ran_out_writes_nothing(store: RecordStore, outbox: Outbox) -> None:
    put(store, user(1))
    outbox.lease(MINE, lease_s=-1)
    for write in (
        lambda: outbox.advance(MINE, 1, lease_s=60),
        lambda: outbox.renew(MINE, lease_s=60),
        lambda: outbox.back_off(MINE, "away", delay_s=0),
        lambda: outbox.set_aside(MINE, 1, "no"),
    ):
        with pytest.raises(LeaseLostError):
            write()
    held = outbox.lease(THEIRS, lease_s=60)
    assert held is not None
    assert held.seq == 0


def test_a_position_moves_and_nothing_waits_then(store: RecordStore, outbox: Outbox) -> None:
    put(store, user(1), user(2))
    position = outbox.lease(MINE, lease_s=60)
    assert position is not None
    some = outbox.events(MODEL.id, after=position.seq, limit=1)
    outbox.advance(MINE, some[-1].seq, lease_s=60)
    outbox.release(MINE)
    assert outbox.waiting(SINK) == (MODEL.id,)
    position = outbox.lease(MINE, lease_s=60)
    assert position is not None
    (rest,) = outbox.events(MODEL.id, after=position.seq, limit=10)
    assert rest.seq > some[0].seq
    outbox.advance(MINE, rest.seq, lease_s=60)
    outbox.release(MINE)
    assert outbox.waiting(SINK) == ()


def test_a_stream_in_backoff_waits_and_says_why(store: RecordStore, outbox: Outbox) -> None:
    put(store, user(1))
    outbox.lease(MINE, lease_s=60)
    outbox.back_off(MINE, "answered 503", delay_s=60)
    assert outbox.waiting(SINK) == ()
    assert outbox.lease(MINE, lease_s=60) is None
    (backlog,) = outbox.backlog()
    assert (backlog.pending, backlog.failures, backlog.error) == (1, 1, "answered 503")
    assert backlog.oldest_at is not None


def test_failures_add_up_until_something_is_taken(store: RecordStore, outbox: Outbox) -> None:
    put(store, user(1))
    for failures in range(3):
        position = outbox.lease(MINE, lease_s=60)
        assert position is not None
        assert position.failures == failures
        outbox.back_off(MINE, "away", delay_s=-1)
    position = outbox.lease(MINE, lease_s=60)
    assert position is not None
    assert 0 < position.failing_s < 60
    outbox.advance(MINE, events(store)[0].seq, lease_s=60)
    (backlog,) = outbox.backlog()
    assert (backlog.pending, backlog.failures, backlog.error) == (0, 0, None)


def test_an_event_that_was_set_aside_is_kept_until_it_is_delivered_after_all(
    store: RecordStore, outbox: Outbox
) -> None:
    put(store, user(1), user(2))
    first, second = events(store)
    outbox.lease(MINE, lease_s=60)
    outbox.set_aside(MINE, first.seq, "answered 422")
    outbox.lease(MINE, lease_s=60)
    outbox.advance(MINE, second.seq, lease_s=60)
    outbox.release(MINE)
    assert outbox.prune([SINK], keep_s=-1, keep_aside_s=60) == 1
    assert events(store) == (first,)
    assert [b.set_aside for b in outbox.backlog()] == [1]
    assert outbox.waiting(SINK) == ()

    assert outbox.replay(SINK) == 1
    assert outbox.waiting(SINK) == (MODEL.id,)
    assert outbox.asked_again(MINE, limit=10) == (first,)
    outbox.delivered_again(MINE, [first.seq])
    assert [b.set_aside for b in outbox.backlog()] == [0]
    assert outbox.prune([SINK], keep_s=-1, keep_aside_s=60) == 1


def test_what_is_refused_again_is_asked_for_no_more_and_what_is_another_s_is(
    store: RecordStore, outbox: Outbox
) -> None:
    put(store, user(1), user(2))
    for event in events(store):
        outbox.lease(MINE, lease_s=60)
        outbox.set_aside(MINE, event.seq, "answered 422")
    first, second = events(store)
    outbox.replay(SINK)
    outbox.refused_again(replace(MINE, model=ModelId("accounts")), "away")
    outbox.refused_again(replace(MINE, sink="crm"), "away")
    assert outbox.asked_again(MINE, limit=10) == (first, second)
    outbox.refused_again(MINE, "answered 400", seq=first.seq)
    assert outbox.asked_again(MINE, limit=10) == (second,)
    outbox.refused_again(MINE, "away")
    assert outbox.asked_again(MINE, limit=10) == ()
    assert [b.set_aside for b in outbox.backlog()] == [2]


def test_nothing_is_pruned_that_a_sink_has_not(store: RecordStore, outbox: Outbox) -> None:
    outbox.begin([SINK, "crm"], [MODEL.id])
    put(store, user(1))
    outbox.lease(MINE, lease_s=60)
    outbox.advance(MINE, events(store)[0].seq, lease_s=60)
    assert outbox.prune([SINK, "crm"], keep_s=-1, keep_aside_s=60) == 0
    assert outbox.prune([], keep_s=-1, keep_aside_s=60) == 0
    assert outbox.prune([SINK], keep_s=60, keep_aside_s=60) == 0
    assert outbox.prune([SINK], keep_s=-1, keep_aside_s=60) == 1


def test_no_number_is_given_twice(store: RecordStore, outbox: Outbox) -> None:
    put(store, user(1))
    last = events(store)[-1].seq
    outbox.lease(MINE, lease_s=60)
    outbox.advance(MINE, last, lease_s=60)
    outbox.prune([SINK], keep_s=-1, keep_aside_s=60)
    put(store, user(2))
    assert events(store)[0].seq > last


def test_a_sink_that_is_new_begins_with_what_comes(store: RecordStore, outbox: Outbox) -> None:
    put(store, user(1))
    outbox.begin([SINK, "crm"], [MODEL.id, ModelId("accounts")])
    assert {(b.sink, b.model): b.pending for b in outbox.backlog()} == {
        ("crm", "accounts"): 0,
        ("crm", "users"): 0,
        (SINK, "accounts"): 0,
        (SINK, "users"): 1,
    }


def test_a_sink_is_given_again_what_it_had_whoever_holds_its_stream(
    store: RecordStore, outbox: Outbox
) -> None:
    put(store, user(1), user(2))
    outbox.lease(MINE, lease_s=60)
    outbox.advance(MINE, events(store)[-1].seq, lease_s=60)
    assert outbox.rewind(SINK, since_s=60) == 2
    with pytest.raises(LeaseLostError):
        outbox.advance(MINE, events(store)[-1].seq, lease_s=60)
    assert outbox.waiting(SINK) == (MODEL.id,)


def test_big_events_come_in_small_pages(
    store: RecordStore, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.stores.outbox_log._PAGE_CHARACTERS", 150)
    put(store, *(user(number) for number in range(1, 4)))
    assert [len(outbox.events(MODEL.id, after=0, limit=n)) for n in (1, 10)] == [1, 2]
