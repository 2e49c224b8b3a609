"""The state `loading`: without its key while a first load goes on, and afterwards as if there had been none.

PostgreSQL alone: a table of SQLite keeps its key, and takes a load as it takes rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
import pytest

from headrace.domain.shape import ModelShape, SourceShape
from headrace.domain.vocabulary import APP, CUSTOMER, DELETED, INVALID, BatchKind
from headrace.ports import KeyChunk, RecordStore
from tests.conformance.store_rows import batch, keys, model, primary, prop, scope, secondary

USERS = primary({"user_id": "integer", "email": "string"})
ORDERS = secondary(
    "orders",
    {"id": "integer", "buyer": "string", "price": "decimal"},
    ("buyer", "email"),
    prop("spent", "decimal", "sum", "price"),
)
SHAPE = model(USERS, ORDERS)


@pytest.fixture(autouse=True)
def _small_loads_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.stores.loading.LEAST_ROWS", 1)


def user(id_: int, email: str | None = None, **more: Any) -> dict[str, Any]:
    return {"user_id": id_, "email": email or f"{id_}@x", **more}


def order(id_: int, buyer: str, price: str) -> dict[str, Any]:
    return {"id": id_, "buyer": buyer, "price": price}


def apply(
    store: RecordStore,
    source: SourceShape,
    rows: Iterable[Mapping[str, Any]],
    kind: BatchKind = BatchKind.LOAD,
    *,
    shape: ModelShape = SHAPE,
    customer: str | None = "acme",
    app: str = "app",
) -> None:
    with store.merging(shape) as transaction:
        assert transaction is not None
        transaction.apply_rows(scope(source, customer, app), batch(source, rows, customer), kind=kind)
        transaction.recompute()


def end(store: RecordStore, shape: ModelShape = SHAPE) -> None:
    with store.merging(shape) as transaction:
        assert transaction is not None
        transaction.end_load()
        transaction.recompute()
        assert not transaction.loads()


def loads(store: RecordStore, shape: ModelShape = SHAPE) -> bool:
    with store.merging(shape) as transaction:
        assert transaction is not None
        return transaction.loads()


def emails(store: RecordStore, shape: ModelShape = SHAPE) -> dict[int, str]:
    found = store.records(shape, customer=None, key=None, limit=100).to_pylist()
    assert len(found) == len({(r[CUSTOMER], r["user_id"]) for r in found})
    return {r["user_id"]: r["email"] for r in found}


def indexes(store_url: str) -> list[str]:
    with psycopg.connect(store_url) as connection:
        found = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'headrace'"
            " AND (tablename = 'users' OR tablename LIKE '%staged%') ORDER BY indexname"
        )
        return [definition for (definition,) in found]


def is_postgres(store_url: str) -> bool:
    return store_url.startswith("postgres")


def test_a_first_load_takes_an_empty_table_without_its_key_and_gives_it_back(
    store: RecordStore, store_url: str
) -> None:
    store.prepare([SHAPE])
    before = indexes(store_url) if is_postgres(store_url) else []
    apply(store, USERS, [user(1), user(2)])
    assert loads(store) == is_postgres(store_url)
    if is_postgres(store_url):
        assert [i for i in indexes(store_url) if " ON headrace.users " in i] == []
    apply(store, USERS, [user(3)])
    apply(store, ORDERS, [order(1, "1@x", "5"), order(2, "3@x", "7"), order(3, "3@x", "1")])
    end(store)
    assert emails(store) == {1: "1@x", 2: "2@x", 3: "3@x"}
    records = store.records(SHAPE, customer=None, key=None, limit=9).to_pylist()
    assert [r["spent"] for r in records] == ["5", "0", "8"]
    if is_postgres(store_url):
        assert indexes(store_url) == before
    assert store.prepare([SHAPE]) == ()


def test_records_that_a_load_brings_pull_what_was_staged_before(store: RecordStore) -> None:
    store.prepare([SHAPE])
    apply(store, ORDERS, [order(1, "1@x", "5")], BatchKind.ROWS)
    apply(store, USERS, [user(1), user(2)])
    end(store)
    found = store.records(SHAPE, customer=None, key=None, limit=9).to_pylist()
    assert [r["spent"] for r in found] == ["5", "0"]


def test_rows_that_a_load_stages_reach_records_that_are_there(store: RecordStore) -> None:
    store.prepare([SHAPE])
    apply(store, USERS, [user(1), user(2)], BatchKind.ROWS)
    apply(store, ORDERS, [order(1, "1@x", "5")])
    apply(store, ORDERS, [order(2, "1@x", "6"), order(1, "2@x", "1")])
    end(store)
    found = store.records(SHAPE, customer=None, key=None, limit=9).to_pylist()
    assert [r["spent"] for r in found] == ["6", "1"]


def test_of_rows_with_one_key_in_several_batches_the_last_stays(store: RecordStore) -> None:
    store.prepare([SHAPE])
    apply(store, USERS, [user(1, "old"), user(2, "older")])
    apply(store, USERS, [user(3), user(2, "old")])
    apply(store, USERS, [user(2, "new"), user(1, "new")])
    end(store)
    assert emails(store) == {1: "new", 2: "new", 3: "3@x"}


@pytest.mark.parametrize("kind", ["rows", "deleted", "keys", "drop", "created", "long"])
def test_whatever_is_no_load_ends_it(store: RecordStore, kind: str) -> None:
    store.prepare([SHAPE])
    apply(store, USERS, [user(1, "old"), user(2)])
    apply(store, USERS, [user(1, "new")])
    with store.merging(SHAPE) as transaction:
        assert transaction is not None
        if kind == "rows":
            transaction.apply_rows(scope(USERS), batch(USERS, [user(2, "changed")]))
        elif kind == "deleted":
            gone = batch(USERS, [user(2, **{DELETED: True})])
            transaction.apply_rows(scope(USERS), gone, kind=BatchKind.LOAD)
        elif kind == "keys":
            whole = KeyChunk(
                reconciliation="r", after=None, upto=None, opens=True, closes=True, forbid_removal=False
            )
            transaction.apply_keys(scope(USERS), keys(USERS, [(1,), (2,)]), whole)
        elif kind == "drop":
            transaction.drop_customer(scope(USERS), "nobody", 1)
        elif kind == "long":
            long = batch(USERS, [user(2, "x" * 2_100)])
            transaction.apply_rows(scope(USERS), long, kind=BatchKind.LOAD)
        else:
            transaction.set_created(store.created_page(SHAPE, customer="x", after=None, limit=1))
        assert not transaction.loads()
        transaction.recompute()
    second = {"rows": "changed", "long": "x" * 2_100}.get(kind, "2@x")
    assert emails(store) == ({1: "new"} if kind == "deleted" else {1: "new", 2: second})


def test_a_table_with_rows_keeps_its_key(store: RecordStore) -> None:
    store.prepare([SHAPE])
    apply(store, USERS, [user(1)], BatchKind.ROWS)
    apply(store, USERS, [user(2)])
    assert not loads(store)


def test_a_row_of_a_load_that_changes_its_customer_leaves_none_behind(store: RecordStore) -> None:
    users = primary({"user_id": "integer", "email": "string"}, customer_in_column=True)
    shape = model(users)
    store.prepare([shape])
    for customer, email in (("ann", "old"), ("bob", "new")):
        row = user(1, email, **{CUSTOMER: customer})
        apply(store, users, [row], shape=shape, customer=None)
    end(store, shape)
    (found,) = store.records(shape, customer=None, key=None, limit=9).to_pylist()
    assert (found[CUSTOMER], found["email"]) == ("bob", "new")


def test_loads_of_several_apps_stay_apart(store: RecordStore) -> None:
    orders = secondary(
        "orders",
        {"id": "integer", "buyer": "string", "price": "decimal"},
        ("buyer", "email"),
        prop("spent", "decimal", "sum", "price"),
        many_apps=True,
    )
    users = primary({"user_id": "integer", "email": "string"}, many_apps=True)
    shape = model(users, orders)
    store.prepare([shape])
    for app, price in (("ann", "1"), ("bob", "2")):
        apply(store, users, [user(1)], shape=shape, customer=app, app=app)
        apply(store, orders, [order(1, "1@x", price)], shape=shape, customer=app, app=app)
    end(store, shape)
    found = store.records(shape, customer=None, key=None, limit=9).to_pylist()
    assert [(r[CUSTOMER], r["spent"]) for r in found] == [("ann", "1"), ("bob", "2")]
    staged = store.staged_rows(orders, customer="bob", value="1@x", limit=9).to_pylist()
    assert [r[APP] for r in staged] == ["bob"]


def test_invalid_values_of_a_load_are_remembered(store: RecordStore) -> None:
    store.prepare([SHAPE])
    bad = {"email": {"value": "a\0b", "reason": "has a NUL character"}}
    apply(store, USERS, [user(1), {"user_id": 2, "email": None, INVALID: bad}])
    end(store)
    first, second = store.records(SHAPE, customer=None, key=None, limit=9).to_pylist()
    assert first[INVALID] is None
    assert "NUL character" in second[INVALID]


def test_what_a_crashed_merge_loaded_is_not_there(store: RecordStore) -> None:
    store.prepare([SHAPE])
    with contextlib.suppress(ZeroDivisionError), store.merging(SHAPE) as transaction:
        assert transaction is not None
        transaction.apply_rows(scope(USERS), batch(USERS, [user(1)]), kind=BatchKind.LOAD)
        raise ZeroDivisionError
    assert not loads(store)
    apply(store, USERS, [user(1, "old"), user(2)])
    with contextlib.suppress(ZeroDivisionError), store.merging(SHAPE) as transaction:
        assert transaction is not None
        transaction.apply_rows(scope(USERS), batch(USERS, [user(1, "crashed")]), kind=BatchKind.LOAD)
        raise ZeroDivisionError
    apply(store, USERS, [user(1, "new")])
    end(store)
    assert emails(store) == {1: "new", 2: "2@x"}


def test_readers_cope_with_a_load(store: RecordStore) -> None:
    """A table that waits for its key is no drift, and nothing that an apply would change."""
    store.prepare([SHAPE])
    apply(store, USERS, [user(1), user(2)])
    apply(store, ORDERS, [order(1, "1@x", "5")])
    assert store.pending_changes([SHAPE]) == ()
    assert emails(store) == {1: "1@x", 2: "2@x"}
    assert store.count(SHAPE) == 2
    assert store.record_page(SHAPE, after=("acme", ("1",)), limit=9).column("user_id").to_pylist() == [2]
    assert store.staged_page(ORDERS, after=None, limit=9).num_rows == 1


def test_an_apply_ends_a_load_that_nobody_goes_on_with(store: RecordStore) -> None:
    store.prepare([SHAPE])
    apply(store, USERS, [user(1, "old"), user(2)])
    apply(store, USERS, [user(1, "new")])
    apply(store, ORDERS, [order(1, "new", "5")])
    store.prepare([SHAPE])
    assert not loads(store)
    assert emails(store) == {1: "new", 2: "2@x"}
    found = store.records(SHAPE, customer=None, key=None, limit=9).to_pylist()
    assert [r["spent"] for r in found] == ["5", "0"]


def test_an_apply_that_alters_the_model_ends_its_load_first(store: RecordStore) -> None:
    store.prepare([SHAPE])
    apply(store, USERS, [user(1, "old"), user(2)])
    apply(store, USERS, [user(1, "new")])
    apply(store, ORDERS, [order(1, "new", "5")])
    wider = primary({"user_id": "integer", "email": "string", "name": "string"})
    most = secondary(
        "orders",
        {"id": "integer", "buyer": "string", "price": "decimal"},
        ("buyer", "email"),
        prop("most", "decimal", "max", "price"),
    )
    altered = model(wider, most)
    store.prepare([altered])
    assert not loads(store, altered)
    found = store.records(altered, customer=None, key=None, limit=9).to_pylist()
    assert [(r["email"], r["most"]) for r in found] == [("new", "5"), ("2@x", None)]
    assert store.prepare([altered]) == ()


def test_a_key_that_somebody_needs_is_kept(store: RecordStore, store_url: str) -> None:
    if not is_postgres(store_url):
        pytest.skip("no key is dropped there")
    store.prepare([SHAPE])
    with psycopg.connect(store_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE headrace.notes (c text, u bigint, FOREIGN KEY (c, u) REFERENCES headrace.users)"
        )
        apply(store, USERS, [user(1)])
        assert not loads(store)
        connection.execute("DROP TABLE headrace.notes")
    assert emails(store) == {1: "1@x"}


def test_a_load_waits_for_no_reader(store: RecordStore, store_url: str) -> None:
    if not is_postgres(store_url):
        pytest.skip("no key is dropped there")
    store.prepare([SHAPE])
    with psycopg.connect(store_url) as reader:
        reader.execute("SELECT FROM headrace.users")
        apply(store, USERS, [user(1)])
        assert not loads(store)
    assert emails(store) == {1: "1@x"}
