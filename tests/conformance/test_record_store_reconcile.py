"""Reconciliation in a record store: absent keys are noted, taken back, removed or held."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime
from typing import Any

import pytest

from headrace.domain.coercion import canonical_text
from headrace.domain.shape import SourceShape
from headrace.ports import FeedScope, KeyChunk, KeysOutcome, MergeCounts, RecordStore
from headrace.stores.frame import Frame
from tests.conformance.store_rows import batch, keys, model, primary, prop, scope, secondary

USERS = primary({"id": "integer", "email": "email"})
ORDERS = secondary(
    "orders",
    {"id": "integer", "user": "integer"},
    ("user", "id"),
    prop("orders", "integer", "count"),
)
SHAPE = model(USERS, ORDERS)
FIRST = KeyChunk(reconciliation="r1", closes=True)
UNCHANGED = KeysOutcome(missing=(), removed=0, held=0, counts=MergeCounts())


def put(store: RecordStore, feed: FeedScope, rows: list[dict[str, Any]], shape: Any = SHAPE) -> None:
    with store.merging(shape) as transaction:
        assert transaction is not None
        transaction.apply_rows(feed, batch(feed.source, rows, feed.customer))
        transaction.recompute()


def reconcile(
    store: RecordStore,
    source: SourceShape,
    found: Any,
    chunk: KeyChunk = FIRST,
    *,
    feed: FeedScope | None = None,
    shape: Any = SHAPE,
) -> KeysOutcome:
    """`found`: the keys that the source has."""
    with store.merging(shape) as transaction:
        assert transaction is not None
        rows = [k if isinstance(k, tuple) else (k,) for k in found]
        outcome = transaction.apply_keys(feed or scope(source), keys(source, rows), chunk)
        counts = transaction.recompute()
    return dataclasses.replace(outcome, counts=outcome.counts + counts)


def ids(store: RecordStore, shape: Any = SHAPE) -> list[int]:
    return [
        int(i) for i in store.records(shape, customer=None, key=None, limit=9999).column("id").to_pylist()
    ]


def orders(store: RecordStore) -> list[int]:
    found = store.records(SHAPE, customer=None, key=None, limit=9999)
    return [int(i) for i in found.column("orders").to_pylist()]


@pytest.fixture
def filled(store: RecordStore) -> RecordStore:
    """Users 0..9 with one order each, of the same number."""
    store.prepare([SHAPE])
    put(store, scope(USERS), [{"id": i} for i in range(10)])
    put(store, scope(ORDERS), [{"id": i, "user": i} for i in range(10)])
    return store


def test_records_that_the_source_lacks_go_and_absent_keys_are_told(filled: RecordStore) -> None:
    outcome = reconcile(filled, USERS, [0, 1, 2, 4, 5, 6, 8, 9, 20, 21])
    assert outcome == KeysOutcome(
        missing=(("20",), ("21",)), removed=2, held=0, counts=MergeCounts(deleted=2)
    )
    assert ids(filled) == [0, 1, 2, 4, 5, 6, 8, 9]


def test_staged_rows_that_the_source_lacks_go_and_their_records_follow(filled: RecordStore) -> None:
    outcome = reconcile(filled, ORDERS, [0, *range(2, 10)])
    assert (outcome.removed, outcome.counts) == (1, MergeCounts(updated=1))
    assert orders(filled) == [1, 0, *[1] * 8]


def test_a_chunk_speaks_only_for_its_range(filled: RecordStore) -> None:
    chunk = KeyChunk(reconciliation="r1", after=("2",), upto=("5",), closes=True)
    reconcile(filled, USERS, [3, 5], chunk)
    assert ids(filled) == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_rows_noted_by_earlier_chunks_go_at_the_end(filled: RecordStore) -> None:
    reconcile(filled, USERS, [0, 1], KeyChunk(reconciliation="r1", upto=("3",)))
    assert ids(filled) == list(range(10))
    reconcile(filled, USERS, range(4, 9), KeyChunk(reconciliation="r1", after=("3",), closes=True))
    assert ids(filled) == [0, 1, 4, 5, 6, 7, 8]


def test_a_chunk_of_several_batches_is_compared_as_one(filled: RecordStore) -> None:
    reconcile(filled, USERS, [0, 1, 2], KeyChunk(reconciliation="r1"))
    reconcile(filled, USERS, [3, 4, 77], KeyChunk(reconciliation="r1", opens=False))
    last = KeyChunk(reconciliation="r1", opens=False, closes=True)
    outcome = reconcile(filled, USERS, [5, 6, 7, 9], last)
    assert outcome.removed == 1
    assert ids(filled) == [0, 1, 2, 3, 4, 5, 6, 7, 9]


def test_a_row_that_comes_again_meanwhile_is_not_gone(filled: RecordStore) -> None:
    reconcile(filled, ORDERS, range(8), KeyChunk(reconciliation="r1"))
    put(filled, scope(ORDERS), [{"id": 9, "user": 1}, {"id": 8, "_deleted": True}])
    outcome = reconcile(filled, ORDERS, [], KeyChunk(reconciliation="r1", opens=False, closes=True))
    assert outcome.removed == 0
    assert orders(filled) == [1, 2, 1, 1, 1, 1, 1, 1, 0, 0]


def test_a_newer_reconciliation_discards_an_older_ones_notes(filled: RecordStore) -> None:
    reconcile(filled, USERS, range(5), KeyChunk(reconciliation="r1", upto=("9",)))
    reconcile(filled, USERS, range(9), KeyChunk(reconciliation="r2", closes=True))
    assert ids(filled) == list(range(9))


def test_an_emptied_source_is_held_until_confirmed(filled: RecordStore) -> None:
    outcome = reconcile(filled, USERS, [])
    assert (outcome.removed, outcome.held) == (0, 10)
    assert filled.held_rows() == {scope(USERS).feed_id: 10}
    assert ids(filled) == list(range(10))
    put(filled, scope(USERS), [{"id": 3, "email": "still@here.io"}])
    assert filled.held_rows() == {scope(USERS).feed_id: 9}
    outcome = reconcile(filled, USERS, [], KeyChunk(reconciliation="r2", confirmed=True))
    assert (outcome.removed, outcome.counts) == (9, MergeCounts(deleted=9))
    assert ids(filled) == [3]
    assert filled.held_rows() == {}


def test_confirming_removes_nothing_that_a_reconciliation_under_way_has_noted(filled: RecordStore) -> None:
    reconcile(filled, USERS, range(5), KeyChunk(reconciliation="r1", upto=("9",)))
    outcome = reconcile(filled, USERS, [], KeyChunk(reconciliation="r2", confirmed=True))
    assert (outcome.removed, ids(filled)) == (0, list(range(10)))
    last = KeyChunk(reconciliation="r1", after=("9",), closes=True)
    assert reconcile(filled, USERS, [], last).removed == 5
    assert ids(filled) == list(range(5))


def test_a_newer_reconciliation_releases_what_was_held(filled: RecordStore) -> None:
    reconcile(filled, ORDERS, [])
    assert filled.held_rows() == {scope(ORDERS).feed_id: 10}
    reconcile(filled, ORDERS, range(9), KeyChunk(reconciliation="r2", closes=True))
    assert filled.held_rows() == {}
    assert orders(filled) == [*[1] * 9, 0]


@pytest.mark.parametrize(
    ("rows", "lost", "held"), [(300, 100, 0), (300, 101, 101), (20_000, 200, 0), (20_000, 201, 201)]
)
def test_the_breaker_holds_more_than_a_hundred_rows_and_one_percent(
    store: RecordStore, rows: int, lost: int, held: int
) -> None:
    store.prepare([SHAPE])
    put(store, scope(USERS), [{"id": i} for i in range(rows)])
    outcome = reconcile(store, USERS, range(lost, rows))
    assert (outcome.held, outcome.removed) == (held, lost - held)
    assert store.count(SHAPE) == rows - (lost - held)


def test_forbidden_removal_notes_nothing_and_still_tells_what_is_missing(filled: RecordStore) -> None:
    chunk = KeyChunk(reconciliation="r1", closes=True, forbid_removal=True)
    outcome = reconcile(filled, USERS, [1, 50], chunk)
    assert (outcome.missing, outcome.removed, outcome.held) == ((("50",),), 0, 0)
    assert ids(filled) == list(range(10))
    assert filled.held_rows() == {}


def test_a_reconciliation_of_a_source_with_lines_that_are_no_rows_holds_what_it_would_remove(
    filled: RecordStore,
) -> None:
    incomplete = KeyChunk(reconciliation="r1", closes=True, incomplete=True)
    outcome = reconcile(filled, USERS, range(1, 10), incomplete)
    assert (outcome.removed, outcome.held) == (0, 1)
    assert ids(filled) == list(range(10))
    assert list(filled.held_rows().values()) == [1]
    outcome = reconcile(filled, USERS, range(1, 10), KeyChunk(reconciliation="r2", closes=True))
    assert (outcome.removed, outcome.held, ids(filled)) == (1, 0, list(range(1, 10)))


def test_a_row_under_another_customer_is_missing_and_not_gone(store: RecordStore) -> None:
    users = dataclasses.replace(USERS, customer_in_column=True)
    orders_shape = dataclasses.replace(ORDERS, customer_in_column=True)
    shape = model(users, orders_shape)
    store.prepare([shape])
    people = [{"id": i, "_customer_id": "a"} for i in range(3)]
    put(store, scope(users, None), people, shape)
    put(store, scope(orders_shape, None), [p | {"user": 1} for p in people], shape)
    found = [(0, "a"), (1, "b"), (2, "a")]
    staged = reconcile(store, orders_shape, found, feed=scope(orders_shape, None), shape=shape)
    assert (staged.missing, staged.removed) == ((("1",),), 0)
    outcome = reconcile(store, users, found, feed=scope(users, None), shape=shape)
    assert (outcome.missing, outcome.removed) == ((("1",),), 1)
    assert ids(store, shape) == [0, 2]


def test_a_feed_of_several_apps_judges_only_its_own_rows(store: RecordStore) -> None:
    users = dataclasses.replace(USERS, many_apps=True)
    orders_shape = dataclasses.replace(ORDERS, many_apps=True)
    shape = model(users, orders_shape)
    store.prepare([shape])
    for app, customer in (("one", "a"), ("two", "b")):
        rows = [{"id": i, "user": i} for i in range(3)]
        put(store, scope(users, customer, app), rows, shape)
        put(store, scope(orders_shape, customer, app), rows, shape)
    for source in (users, orders_shape):
        feed = scope(source, "a", "one")
        outcome = reconcile(store, source, [(0, "a"), (1, "a")], feed=feed, shape=shape)
        assert (outcome.removed, outcome.missing) == (1, ())
    found = store.records(shape, customer=None, key=None, limit=99).to_pylist()
    assert [(r["_customer_id"], r["id"], r["orders"]) for r in found] == [
        ("a", 0, 1), ("a", 1, 1), ("b", 0, 1), ("b", 1, 1), ("b", 2, 1)
    ]  # fmt: skip


KEY_VALUES: dict[str, list[Any]] = {
    "boolean": [False, True],
    "integer": [-(2**63), -5, 0, 7, 2**63 - 1],
    "float": [-1e300, -0.1, 0.0, 0.1, 1 / 3, 1e300],
    "decimal": ["-10", "-9.5", "0.3", "2", "10", "123456789012345678901234567890.5"],
    "string": ["", "A", "B", "a", "é", 'quote"\\', "😀"],
    "date": [date(1, 1, 1), date(999, 12, 31), date(2020, 2, 29), date(9999, 12, 31)],
    "datetime": [datetime(1, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, 0, 0, 0, 1, tzinfo=UTC)],
}


@pytest.mark.parametrize("type_", KEY_VALUES)
def test_keys_of_each_type_are_noted_compared_and_removed_by_value(store: RecordStore, type_: str) -> None:
    values = KEY_VALUES[type_]
    users = primary({"a": "string", "id": type_}, key=2)
    shape = model(users)
    store.prepare([shape])
    put(store, scope(users), [{"a": "x", "id": v} for v in values], shape)
    texts = canonical_text(keys(users, [("x", v) for v in values]).column("id")).to_pylist()
    after = KeyChunk(reconciliation="r1", after=("x", texts[0]), upto=("x", texts[-1]), closes=True)
    absent = KeyChunk(reconciliation="r2", upto=("w", texts[0]), closes=True)
    assert reconcile(store, users, [], absent, shape=shape).removed == 0
    outcome = reconcile(store, users, [("y", values[-1])], after, shape=shape)
    assert outcome.missing == (("y", texts[-1]),)
    assert outcome.removed == len(values) - 1
    (left,) = store.records(shape, customer=None, key=None, limit=99).to_pylist()
    assert left["id"] == values[0]
    assert store.records(shape, customer="acme", key=("x", texts[0]), limit=2).num_rows == 1


@pytest.mark.parametrize("source", [USERS, ORDERS])
def test_keys_that_are_all_there_are_compared_without_being_loaded(
    filled: RecordStore, monkeypatch: pytest.MonkeyPatch, source: SourceShape
) -> None:
    def loaded(*_: Any) -> None:
        raise AssertionError("keys were loaded")

    monkeypatch.setattr(Frame, "load_keys", loaded)
    first = KeyChunk(reconciliation="r1", upto=("4",))
    assert reconcile(filled, source, range(5), first) == UNCHANGED
    assert (
        reconcile(filled, source, range(5, 10), KeyChunk(reconciliation="r1", after=("4",), closes=True))
        == UNCHANGED
    )
    with pytest.raises(AssertionError, match="keys were loaded"):
        reconcile(filled, source, [0, 1, 2, 3, 9], first)


def test_a_record_of_another_customer_goes_though_all_keys_are_there(
    filled: RecordStore,
) -> None:
    put(filled, scope(USERS, "other"), [{"id": 50}])
    assert reconcile(filled, USERS, range(10)).removed == 1


def test_a_row_of_another_customer_is_fetched_though_all_keys_are_there(filled: RecordStore) -> None:
    put(filled, scope(ORDERS, "other"), [{"id": 3, "user": 3}])
    assert reconcile(filled, ORDERS, range(10)).missing == (("3",),)


def test_keys_are_told_apart_whatever_is_in_their_texts(store: RecordStore) -> None:
    users = primary({"id": "string", "part": "string"}, key=2)
    shape = model(users)
    store.prepare([shape])
    put(store, scope(users), [{"id": "a", "part": "b"}, {"id": "c", "part": "d"}], shape)
    one = ("a", "b\n1,c,1,d")
    assert reconcile(store, users, [one], shape=shape).missing == (one,)
    again = KeyChunk(reconciliation="r2", closes=True)
    assert reconcile(store, users, [("a", "b"), ("c", "d")], again, shape=shape) == UNCHANGED


def test_an_older_reconciliation_is_forgotten_by_a_chunk_that_is_unchanged(filled: RecordStore) -> None:
    reconcile(filled, USERS, [0, 1], KeyChunk(reconciliation="old", upto=("4",)))
    assert reconcile(filled, USERS, range(10), KeyChunk(reconciliation="new", closes=True)) == UNCHANGED
    assert ids(filled) == list(range(10))
