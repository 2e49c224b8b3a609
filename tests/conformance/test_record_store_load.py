"""A `load` batch is a hint: whatever way it takes, the records are those of a `rows` batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from headrace.domain.vocabulary import BatchKind
from headrace.ports import MergeCounts, RecordStore
from headrace.stores import new_records
from tests.conformance.store_rows import ACME, batch, model, primary, prop, scope, secondary

USERS = primary({"user_id": "integer", "email": "string", "balance": "decimal", "seen_at": "datetime"})
ORDERS = secondary(
    "orders",
    {"id": "integer", "buyer": "integer", "price": "decimal"},
    ("buyer", "user_id"),
    prop("orders", "integer", "count"),
    prop("spent", "decimal", "sum", "price"),
    prop("prices", "json", "list", "price"),
    prop("dearest", "decimal", "max", "price"),
)
SHAPE = model(USERS, ORDERS)
ROWS = [
    {"user_id": 1, "email": "a\"b,c\n'", "balance": "1.5", "seen_at": None},
    {"user_id": 2, "email": "", "balance": None, "seen_at": None},
    {"user_id": 3, "email": None, "balance": "-0.001", "seen_at": None},
]


def load(store: RecordStore, rows: Iterable[Mapping[str, Any]], kind: BatchKind) -> MergeCounts:
    with store.merging(SHAPE) as transaction:
        assert transaction is not None
        counts = transaction.apply_rows(scope(USERS), batch(USERS, rows), kind=kind)
        return counts + transaction.recompute()


def records(store: RecordStore) -> list[dict[str, Any]]:
    return (
        store.records(SHAPE, customer=ACME, key=None, limit=100)
        .drop_columns(["_created_at", "_updated_at"])
        .to_pylist()
    )


@pytest.fixture
def appended(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each load was appended straight to the records."""
    ways: list[bool] = []
    original = new_records.append_new

    def noted(*args: Any) -> bool:
        ways.append(original(*args))
        return ways[-1]

    monkeypatch.setattr("headrace.stores.merge.append_new", noted)
    return ways


def test_a_load_writes_what_rows_write(store: RecordStore, appended: list[bool]) -> None:
    store.prepare([SHAPE])
    assert load(store, ROWS, BatchKind.LOAD) == MergeCounts(inserted=3)
    assert appended == [True]
    loaded = records(store)
    with store.merging(SHAPE) as transaction:
        assert transaction is not None
        transaction.drop_customer(scope(USERS), ACME, 1)
    load(store, ROWS, BatchKind.ROWS)
    assert loaded == records(store)
    assert (loaded[0]["orders"], loaded[0]["spent"], loaded[0]["prices"], loaded[0]["dearest"]) == (
        0, "0", "[]", None,
    )  # fmt: skip


def test_a_load_with_a_known_row_takes_the_common_way(store: RecordStore, appended: list[bool]) -> None:
    store.prepare([SHAPE])
    load(store, ROWS[:1], BatchKind.ROWS)
    changed = [*ROWS[1:], {**ROWS[0], "email": "new"}]
    assert load(store, changed, BatchKind.LOAD) == MergeCounts(inserted=2, updated=1)
    assert appended == [False]
    assert [r["email"] for r in records(store)] == ["new", "", None]


def test_loaded_records_pull_what_was_staged_before(store: RecordStore) -> None:
    store.prepare([SHAPE])
    with store.merging(SHAPE) as transaction:
        assert transaction is not None
        transaction.apply_rows(scope(ORDERS), batch(ORDERS, [{"id": 1, "buyer": 2, "price": "9"}]))
        transaction.recompute()
    load(store, ROWS, BatchKind.LOAD)
    assert [r["spent"] for r in records(store)] == ["0", "9", "0"]


def test_a_load_undone_by_a_known_row_leaves_the_transaction_usable(store: RecordStore) -> None:
    store.prepare([SHAPE])
    load(store, ROWS[2:], BatchKind.ROWS)
    with contextlib.suppress(ZeroDivisionError), store.merging(SHAPE) as transaction:
        assert transaction is not None
        transaction.apply_rows(scope(USERS), batch(USERS, ROWS), kind=BatchKind.LOAD)
        raise ZeroDivisionError
    assert [r["user_id"] for r in records(store)] == [3]
