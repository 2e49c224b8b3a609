"""Preparing a data source: tables as their layout says, altered as models change."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headrace.domain.shape import ModelShape, SourceShape, shape_fingerprint
from headrace.domain.vocabulary import BatchId, LogId
from headrace.errors import (
    ConfigurationError,
    DataRejectedError,
    HeadraceError,
    StoreUnavailableError,
)
from headrace.ports import Applied, RecordStore
from headrace.stores import open_store
from tests.conformance.store_rows import batch, model, primary, prop, scope, secondary

USER_COLUMNS = {"user_id": "integer", "email": "email"}
USERS = primary(USER_COLUMNS)
ORDER_COLUMNS = {"id": "integer", "buyer": "integer", "amount": "decimal"}
TOTAL = prop("total", "decimal", "sum", "amount")
ORDERS = secondary("orders", ORDER_COLUMNS, ("buyer", "user_id"), TOTAL)
SHAPE = model(USERS, ORDERS)
ALL = {
    "boolean": ("boolean", "INTEGER"),
    "integer": ("bigint", "INTEGER"),
    "float": ("double precision", "REAL"),
    "decimal": ("numeric", "TEXT"),
    "string": ("text", "TEXT"),
    "email": ("text", "TEXT"),
    "phone": ("text", "TEXT"),
    "url": ("text", "TEXT"),
    "date": ("date", "TEXT"),
    "datetime": ("timestamp with time zone", "TEXT"),
    "json": ("jsonb", "TEXT"),
}


def fill(store: RecordStore, shape: ModelShape, **rows: list[dict[str, Any]]) -> None:
    with store.merging(shape) as transaction:
        assert transaction is not None
        for source_id, given in rows.items():
            source = shape.source(source_id)
            transaction.apply_rows(scope(source), batch(source, given))
            transaction.mark_applied(scope(source).feed_id, Applied(LogId("log"), 1, BatchId(source_id)))
        transaction.recompute()


def records(store: RecordStore, shape: ModelShape) -> list[dict[str, Any]]:
    kept = [c.name for c in shape.columns]
    return store.records(shape, customer=None, key=None, limit=99).select(kept).to_pylist()  # type: ignore[no-any-return]


@pytest.fixture
def filled(store: RecordStore) -> RecordStore:
    store.prepare([SHAPE])
    fill(
        store,
        SHAPE,
        users=[{"user_id": 1, "email": "a"}, {"user_id": 2}],
        orders=[{"id": i, "buyer": 1, "amount": str(i)} for i in (1, 2, 3)],
    )
    return store


def catalogue(store_url: str, table: str) -> tuple[dict[str, str], list[str]]:
    """Types by column and the primary key, as a plain client sees them."""
    if store_url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(store_url.removeprefix("sqlite:///"))) as plain:
            info = plain.execute("SELECT name, type, pk FROM pragma_table_info(?)", [table]).fetchall()
        return {n: t for n, t, _ in info}, [n for _, n in sorted((p, n) for n, _, p in info if p)]
    with psycopg.connect(store_url) as connection:
        columns = connection.execute(
            "SELECT column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'headrace' AND table_name = %s",
            [table],
        ).fetchall()
        key = connection.execute(
            "SELECT a.attname FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(n, place)"
            " JOIN pg_attribute a ON a.attnum = k.n WHERE i.indrelid = to_regclass(%s)"
            " AND a.attrelid = i.indrelid AND i.indisprimary ORDER BY place",
            [f'headrace."{table}"'],
        ).fetchall()
    return dict(columns), [name for (name,) in key]


def test_tables_have_the_columns_types_and_keys_of_the_contract(store: RecordStore, store_url: str) -> None:
    first = primary({"a": "integer", "b": "string", **{f"c_{t}": t for t in ALL}}, key=2)
    staged = secondary(
        "things", {"x": "string", "y": "date", "n": "integer"}, ("n", "a"),
        prop("things", "integer", "count"), key=2, many_apps=True,
    )  # fmt: skip
    store.prepare([model(first, staged)])
    place = 1 if store_url.startswith("sqlite") else 0
    text, number, stamp, json_ = (ALL[t][place] for t in ("string", "integer", "datetime", "json"))
    assert catalogue(store_url, "users") == (
        {
            "_customer_id": text, "a": number, "b": text, **{f"c_{t}": ALL[t][place] for t in ALL},
            "things": number, "_created_at": stamp, "_updated_at": stamp, "_invalid": json_,
        },
        ["_customer_id", "a", "b"],
    )  # fmt: skip
    assert catalogue(store_url, "_staged_things") == (
        {
            "_customer_id": text, "x": text, "y": ALL["date"][place], "n": number,
            "_app": text, "_invalid": json_,
        },
        ["x", "y", "_app"],
    )  # fmt: skip
    for name, key in {
        "_applied": ["feed"],
        "_gone": ["feed", "reconciliation", "key"],
        "_moved": ["customer"],
        "_identity": ["workspace"],
        "_contract": ["model", "source"],
    }.items():
        assert catalogue(store_url, name)[1] == key


def test_preparing_again_changes_nothing_and_says_so(filled: RecordStore) -> None:
    assert filled.pending_changes([SHAPE]) == ()
    assert filled.prepare([SHAPE]) == ()
    assert records(filled, SHAPE)[0]["total"] == "6"


def test_pending_changes_are_those_that_prepare_makes(store: RecordStore) -> None:
    pending = store.pending_changes([SHAPE])
    assert {c.table for c in pending} > {"users", "_staged_orders", "_applied", "_identity"}
    assert store.prepare([SHAPE]) == pending
    assert store.pending_changes([SHAPE]) == ()


def test_a_new_property_is_computed_from_the_rows_that_are_there(filled: RecordStore) -> None:
    count = prop("orders", "integer", "count")
    changed = model(USERS, dataclasses.replace(ORDERS, properties=(TOTAL, count)))
    pending = filled.pending_changes([changed])
    assert filled.prepare([changed]) == pending
    assert [(r["total"], r["orders"]) for r in records(filled, changed)] == [("6", 3), ("0", 0)]
    with filled.merging(changed) as transaction:
        assert transaction is not None
        assert transaction.contract()["orders"] == shape_fingerprint(changed.sources[1])


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ((prop("total", "decimal", "max", "amount"),), ["3", None]),
        ((prop("total", "decimal", "sum", "amount", where=[("amount", "gt", "1")]),), ["5", "0"]),
        ((prop("total", "integer", "sum", "amount"),), [6, 0]),
    ],
    ids=["aggregation", "filter", "type"],
)
def test_a_changed_property_is_computed_anew(
    filled: RecordStore, properties: Any, expected: list[Any]
) -> None:
    changed = model(USERS, dataclasses.replace(ORDERS, properties=properties))
    filled.prepare([changed])
    assert [r["total"] for r in records(filled, changed)] == expected


def test_a_property_that_is_gone_takes_its_column_along(filled: RecordStore, store_url: str) -> None:
    fill(filled, SHAPE, users=[{"user_id": 1, "_invalid": {"email": {"value": "?", "reason": "no"}}}])
    changed = model(primary({"user_id": "integer"}), ORDERS)
    filled.prepare([changed])
    assert "email" not in catalogue(store_url, "users")[0]
    found = filled.records(changed, customer=None, key=None, limit=9)
    assert found.column("_invalid").to_pylist() == [None, None]


def test_a_new_staged_column_starts_null_and_others_stay(filled: RecordStore) -> None:
    wider: SourceShape = secondary(
        "orders", {**ORDER_COLUMNS, "state": "string"}, ("buyer", "user_id"), TOTAL,
        prop("states", "integer", "count", "state"),
    )  # fmt: skip
    changed = model(USERS, wider)
    filled.prepare([changed])
    assert [(r["total"], r["states"]) for r in records(filled, changed)] == [("6", 0), ("0", 0)]
    assert filled.applied(changed).keys() == {scope(USERS).feed_id, scope(wider).feed_id}


def test_a_staged_table_with_another_key_begins_anew(filled: RecordStore) -> None:
    columns = {"id": "string", "buyer": "integer", "amount": "decimal"}
    changed = model(USERS, secondary("orders", columns, ("buyer", "user_id"), TOTAL))
    filled.prepare([changed])
    assert [r["total"] for r in records(filled, changed)] == ["0", "0"]
    assert filled.applied(changed).keys() == {scope(USERS).feed_id}


def test_a_model_with_another_key_begins_anew(filled: RecordStore) -> None:
    users = primary({"user_id": "string", "email": "email"})
    orders = secondary("orders", {**ORDER_COLUMNS, "buyer": "string"}, ("buyer", "user_id"), TOTAL)
    changed = model(users, orders)
    filled.prepare([changed])
    assert filled.count(changed) == 0
    assert filled.applied(changed) == {}
    fill(filled, changed, orders=[{"id": 1, "buyer": "u", "amount": "2"}], users=[{"user_id": "u"}])
    assert records(filled, changed)[0]["total"] == "2"


def test_a_source_that_is_gone_takes_its_table_along(filled: RecordStore, store_url: str) -> None:
    changed = model(USERS)
    filled.prepare([changed])
    assert catalogue(store_url, "_staged_orders") == ({}, [])
    assert "total" not in catalogue(store_url, "users")[0]
    assert filled.applied(changed).keys() == {scope(USERS).feed_id}
    assert filled.prepare([changed]) == ()
    filled.prepare([SHAPE])
    assert [r["total"] for r in records(filled, SHAPE)] == ["0", "0"]


def test_a_mapping_to_another_property_is_computed_anew(filled: RecordStore) -> None:
    users = primary({**USER_COLUMNS, "other_id": "integer"})
    wider = model(users, ORDERS)
    filled.prepare([wider])
    fill(filled, wider, users=[{"user_id": 2, "other_id": 1}])
    changed = model(
        users, dataclasses.replace(ORDERS, mapping=dataclasses.replace(ORDERS.mapping, property="other_id"))
    )  # type: ignore[type-var]
    filled.prepare([changed])
    assert [r["total"] for r in records(filled, changed)] == ["0", "6"]


def test_tables_of_another_data_source_are_refused(filled: RecordStore, store_url: str) -> None:
    other = open_store(
        data_source_id="other", url=store_url, namespace="headrace", workspace="w1", schema="shop"
    )
    with contextlib.closing(other):
        with pytest.raises(ConfigurationError, match="belong to data source 'main'"):
            other.prepare([SHAPE])
        with pytest.raises(ConfigurationError, match="belong to data source 'main'"):
            other.pending_changes([SHAPE])


def test_two_processes_may_prepare_at_once(store_url: str) -> None:
    stores = [
        open_store(data_source_id="main", url=store_url, namespace="headrace", workspace="w1", schema="shop")
        for _ in range(4)
    ]
    errors: list[BaseException] = []

    def prepare(store: RecordStore) -> None:
        try:
            store.prepare([SHAPE])
        except HeadraceError as error:
            errors.append(error)

    threads = [threading.Thread(target=prepare, args=[s]) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert stores[0].count(SHAPE) == 0
    for store in stores:
        store.close()


def test_a_store_without_tables_says_what_is_missing(store: RecordStore) -> None:
    with pytest.raises(ConfigurationError, match="no tables of it: run `headrace apply`"):
        store.count(SHAPE)


def test_rows_that_the_database_refuses_are_rejected(filled: RecordStore) -> None:
    def merge_null_key() -> None:
        with filled.merging(SHAPE) as transaction:
            assert transaction is not None
            transaction.apply_rows(scope(USERS), batch(USERS, [{"user_id": None}]))

    with pytest.raises(DataRejectedError):
        merge_null_key()
    assert filled.count(SHAPE) == 2


def open_at(url: str) -> RecordStore:
    return open_store(data_source_id="d", url=url, namespace="n", workspace="w", schema="s")


def test_a_server_that_is_away_is_unavailable_and_no_password_is_told() -> None:
    store = open_at("postgresql://someone:s3cret@127.0.0.1:1/nowhere")
    with pytest.raises(StoreUnavailableError) as caught:
        store.count(SHAPE)
    assert "s3cret" not in f"{caught.value}"


def test_a_database_that_does_not_exist_is_a_matter_of_configuration(postgres_server: str) -> None:
    with pytest.raises(ConfigurationError):
        open_at(postgres_server.rsplit("/", 1)[0] + "/headrace_no_such_database").count(SHAPE)


def test_the_directory_of_a_file_is_made(tmp_path: Path) -> None:
    open_at(f"sqlite:///{tmp_path}/stores/eu/store.db").prepare([SHAPE])
    assert (tmp_path / "stores" / "eu" / "store.db").exists()


def test_a_directory_that_cannot_be_made_is_a_matter_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "stores").write_text("a file")
    with pytest.raises(ConfigurationError, match="cannot be made"):
        open_at(f"sqlite:///{tmp_path}/stores/eu/store.db").count(SHAPE)


def test_a_url_of_another_kind_is_refused_without_being_told() -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_at("mysql://u:s3cret@h/d")
    assert "s3cret" not in f"{caught.value}"
