"""What every record store does, on PostgreSQL and SQLite alike."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest

from headrace.domain.shape import ModelShape, SourceShape, shape_fingerprint
from headrace.domain.vocabulary import BatchId, FeedId, LogId, ModelId
from headrace.ports import Applied, FeedScope, MergeCounts, RecordStore
from headrace.stores.merge import SqlMerge
from tests.conformance.store_rows import (
    ACME,
    batch,
    model,
    primary,
    prop,
    scope,
    secondary,
)

USERS = primary({"user_id": "integer", "email": "email", "account_id": "integer"})


def merge(store: RecordStore, shape: ModelShape, *applied: tuple[FeedScope, Any]) -> MergeCounts:
    """Apply the batches in one transaction and recompute."""
    with store.merging(shape) as transaction:
        assert transaction is not None
        counts = MergeCounts()
        for feed, rows in applied:
            counts += transaction.apply_rows(feed, rows)
        return counts + transaction.recompute()


def put(
    store: RecordStore, shape: ModelShape, source: SourceShape, rows: Iterable[Mapping[str, Any]]
) -> MergeCounts:
    return merge(store, shape, (scope(source), batch(source, rows)))


def records(store: RecordStore, shape: ModelShape, **where: Any) -> dict[Any, dict[str, Any]]:
    """Records by key (alone when it has one part); without timestamps."""
    found = store.records(shape, customer=None, key=None, limit=10_000, **where).to_pylist()
    result = {}
    for record in found:
        del record["_created_at"], record["_updated_at"]
        key = tuple(record[c.name] for c in shape.key)
        result[key[0] if len(key) == 1 else key] = record
    return result


def only(store: RecordStore, shape: ModelShape) -> dict[str, Any]:
    (record,) = records(store, shape).values()
    return record


# --- Grouparoo's cases --------------------------------------------------------------------------

PURCHASES = [
    (1, 1, "Apple", "1.54", 1), (6, 1, "Orange", "1.42", 6), (11, 1, "Blueberry", "2.23", 11),
    (15, 1, "Apple", "1.54", 15), (18, 1, "Blueberry", "2.23", 18), (20, 1, "Orange", "1.42", 20),
    (23, 1, None, "1", 20), (2, 2, "Pear", "0.78", 2), (7, 2, "Apple", "1.54", 7),
    (12, 2, "Apple", "3.14", 12), (16, 2, "Pear", "0.78", 16), (19, 2, "Apple", "3.14", 19),
]  # fmt: skip
ACCOUNTS = [(1, "super_mega_corp"), (2, "star_fleet"), (3, "banana_stand")]


def count_where(name: str, op: str, *values: str) -> Any:
    return prop(name, "integer", "count", where=[("item", op, *values)])


CASES: list[tuple[Any, tuple[Any, Any, Any]]] = [
    (prop("purchases", "integer", "count", "amount"), (7, 5, 0)),
    (prop("spent", "decimal", "sum", "amount"), ("11.38", "9.38", "0")),
    (prop("average", "decimal", "average", "amount"), ("1.6257142857", "1.876", None)),
    (prop("least", "decimal", "min", "amount"), ("1", "0.78", None)),
    (prop("most", "decimal", "max", "amount"), ("2.23", "3.14", None)),
    (prop("items", "integer", "count", "item"), (6, 5, 0)),
    (prop("last_item", "string", "most_recent", "item", order_by="stamp"), (None, "Apple", None)),
    (prop("first_item", "string", "least_recent", "item", order_by="stamp"), ("Apple", "Pear", None)),
    (
        prop("all_items", "json", "list", "item"),
        (
            '["Apple","Orange","Blueberry","Apple","Blueberry","Orange",null]',
            '["Pear","Apple","Apple","Pear","Apple"]',
            "[]",
        ),
    ),
    (count_where("with_item", "exists"), (6, 5, 0)),
    (count_where("without_item", "not_exists"), (1, 0, 0)),
    (count_where("apples", "eq", "Apple"), (2, 3, 0)),
    (count_where("small_apples", "eq", "apple"), (0, 0, 0)),
    (count_where("no_apples", "ne", "Apple"), (4, 2, 0)),
    (count_where("no_oran", "not_contains", "Oran"), (4, 5, 0)),
]
PURCHASE = secondary(
    "purchases",
    {"id": "integer", "buyer": "integer", "item": "string", "amount": "decimal", "stamp": "datetime"},
    ("buyer", "user_id"),
    *(shape for shape, _ in CASES),
)
ACCOUNT = secondary(
    "accounts",
    {"id": "integer", "name": "string"},
    ("id", "account_id"),
    prop("account_name", "string", "value", "name"),
)
GROUPAROO = model(USERS, PURCHASE, ACCOUNT)


def grouparoo_rows() -> dict[SourceShape, list[dict[str, Any]]]:
    account = {**dict.fromkeys(range(1, 5), 1), **dict.fromkeys(range(5, 10), 2), 10: 3}
    return {
        USERS: [{"user_id": i, "email": f"u{i}@x.io", "account_id": a} for i, a in account.items()],
        PURCHASE: [
            {
                "id": i,
                "buyer": u,
                "item": item,
                "amount": amount,
                "stamp": datetime(2020, 2, day, hour=1 if i == 23 else 0, tzinfo=UTC),
            }
            for i, u, item, amount, day in PURCHASES
        ],
        ACCOUNT: [{"id": i, "name": name} for i, name in ACCOUNTS],
    }


@pytest.mark.parametrize("reverse", [False, True], ids=["primary first", "primary last"])
def test_grouparoo_cases_have_their_results_in_any_order(store: RecordStore, reverse: bool) -> None:
    store.prepare([GROUPAROO])
    sources = list(grouparoo_rows().items())
    for source, rows in reversed(sources) if reverse else sources:
        put(store, GROUPAROO, source, rows)
    found = records(store, GROUPAROO)
    for shape, expected in CASES:
        assert tuple(found[u][shape.name] for u in (1, 2, 6)) == expected, shape.name
    assert [found[u]["account_name"] for u in (1, 5, 10)] == [
        "super_mega_corp",
        "star_fleet",
        "banana_stand",
    ]


# --- values -------------------------------------------------------------------------------------

ALL_TYPES = {
    "id": "integer",
    "flag": "boolean",
    "number": "integer",
    "ratio": "float",
    "price": "decimal",
    "name": "string",
    "mail": "email",
    "phone": "phone",
    "link": "url",
    "day": "date",
    "moment": "datetime",
    "extra": "json",
}
ODD_TEXTS = ["", " ", "NULL", "\\N", "\\.", "a\n\\.\nb", 'quote " and, comma', "it's", "naïve 🦆", "\t\r\n"]


def typed_row(id_: int, text: str | None) -> dict[str, Any]:
    return {
        "id": id_,
        "flag": id_ % 2 == 0,
        "number": -(2**63) + id_,
        "ratio": 1 / (id_ + 3),
        "price": "12345678901234567890.000000000000000001",
        "name": text,
        "mail": text,
        "phone": text,
        "link": text,
        "day": date(1, 1, 1 + id_),
        "moment": datetime(9999, 12, 31, 23, 59, 59, 999999 - id_, tzinfo=UTC),
        "extra": '{"a":[1,2.50,null],"b":"x"}',
    }


def test_values_come_back_as_they_were_given(store: RecordStore) -> None:
    source = primary(ALL_TYPES)
    shape = model(source)
    store.prepare([shape])
    rows = [typed_row(i, text) for i, text in enumerate(ODD_TEXTS)] + [{"id": 99}]
    put(store, shape, source, rows)
    found = records(store, shape)
    for row in rows:
        expected = {name: row.get(name) for name in ALL_TYPES}
        assert found[row["id"]] == {"_customer_id": ACME, **expected, "_invalid": None}


def test_staged_values_come_back_as_they_were_given(store: RecordStore) -> None:
    source = secondary("things", ALL_TYPES, ("number", "n"), prop("things", "integer", "count"))
    first = primary({"n": "integer"})
    shape = model(first, source)
    store.prepare([shape])
    rows = [typed_row(i, text) | {"number": 7} for i, text in enumerate(ODD_TEXTS)]
    put(store, shape, source, rows)
    found = store.staged_rows(source, customer=ACME, value="7", limit=100).to_pylist()
    assert found == [{"_customer_id": ACME, **row, "_invalid": None} for row in rows]
    assert store.staged_rows(source, customer="other", value="7", limit=9).num_rows == 0


def test_names_with_any_characters_are_only_names(store: RecordStore) -> None:
    odd = 'per%cent "quoted" ?:p0 %(p0)s'
    source = secondary(
        "things",
        {"id": "integer", odd: "string", "n": "integer"},
        ("n", "n"),
        prop("first", "string", "value", odd, where=[(odd, "starts_with", "50%")]),
    )
    shape = model(primary({"n": "integer"}), source)
    store.prepare([shape])
    put(store, shape, shape.primary, [{"n": 1}])
    put(store, shape, source, [{"id": 1, odd: "x", "n": 1}, {"id": 2, odd: "50%_off", "n": 1}])
    assert only(store, shape)["first"] == "50%_off"
    assert store.prepare([shape]) == ()


def test_wildcards_in_filters_are_plain_characters(store: RecordStore) -> None:
    source = secondary(
        "things",
        {"id": "integer", "t": "string", "n": "integer"},
        ("n", "n"),
        prop("has", "integer", "count", where=[("t", "contains", "%a_")]),
        prop("begins", "integer", "count", where=[("t", "starts_with", "A")]),
        prop("either", "integer", "count", where=[[("t", "eq", "x"), ("t", "not_exists")]]),
        prop("listed", "integer", "count", where=[("t", "in", "x", "y"), ("id", "gt", "4")]),
        prop("unlisted", "integer", "count", where=[("t", "not_in", "x", "y")]),
    )
    shape = model(primary({"n": "integer"}), source)
    store.prepare([shape])
    put(store, shape, shape.primary, [{"n": 1}])
    texts = ["%a_", "bab", "ab", "Ab", None, "x", "y"]
    put(store, shape, source, [{"id": i, "t": t, "n": 1} for i, t in enumerate(texts)])
    found = only(store, shape)
    assert [found[p] for p in ("has", "begins", "either", "listed", "unlisted")] == [1, 1, 2, 2, 4]


def test_a_sum_outside_64_bits_is_null(store: RecordStore) -> None:
    source = secondary(
        "things",
        {"id": "integer", "n": "integer", "v": "integer"},
        ("n", "n"),
        prop("total", "integer", "sum", "v"),
        prop("exact", "decimal", "sum", "v"),
        prop("mean", "decimal", "average", "v"),
    )
    shape = model(primary({"n": "integer"}), source)
    store.prepare([shape])
    put(store, shape, shape.primary, [{"n": 1}])
    put(store, shape, source, [{"id": 1, "n": 1, "v": 2**63 - 1}, {"id": 2, "n": 1, "v": 1}])
    found = only(store, shape)
    assert (found["total"], found["exact"], found["mean"]) == (
        None,
        "9223372036854775808",
        "4611686018427387904",
    )
    put(store, shape, source, [{"id": 3, "n": 1, "v": -1}])
    assert only(store, shape)["total"] == 2**63 - 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "1", "0"], "0.6666666667"),
        (["-1", "0", "0", "0", "0", "0", "0", "0"], "-0.125"),
        (["0.0000000001", "0"], "0.0000000001"),
        (["-0.0000000001", "0"], "-0.0000000001"),
        (["0.00000000009999999999999999999", "0"], "0"),
        (["100000000000000000000000000000.5", "0"], "50000000000000000000000000000.25"),
    ],
)
def test_averages_are_rounded_once_half_away_from_zero(
    store: RecordStore, values: list[str], expected: str
) -> None:
    source = secondary(
        "things",
        {"id": "integer", "n": "integer", "v": "decimal"},
        ("n", "n"),
        prop("mean", "decimal", "average", "v"),
    )
    shape = model(primary({"n": "integer"}), source)
    store.prepare([shape])
    put(store, shape, shape.primary, [{"n": 1}])
    put(store, shape, source, [{"id": i, "n": 1, "v": v} for i, v in enumerate(values)])
    assert only(store, shape)["mean"] == expected


# --- writing only what differs ------------------------------------------------------------------


def raw_rows(store_url: str, sql: str) -> list[tuple[Any, ...]]:
    """What a plain client of the database sees."""
    if store_url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(store_url.removeprefix("sqlite:///"))) as plain:
            return plain.execute(sql.replace("headrace.", "").replace("xmin::text, ", "")).fetchall()
    with psycopg.connect(store_url) as connection:
        return connection.execute(sql).fetchall()  # type: ignore[arg-type]


def test_applying_the_same_again_writes_nothing(store: RecordStore, store_url: str) -> None:
    store.prepare([GROUPAROO])
    rows = grouparoo_rows()
    for source in rows:
        put(store, GROUPAROO, source, rows[source])
    tables = ("users", "_staged_purchases", "_staged_accounts")
    before = [raw_rows(store_url, f"SELECT xmin::text, t.* FROM headrace.{t} t") for t in tables]
    for source in rows:
        assert put(store, GROUPAROO, source, rows[source]).changed == 0
    assert store.prepare([GROUPAROO]) == ()
    after = [raw_rows(store_url, f"SELECT xmin::text, t.* FROM headrace.{t} t") for t in tables]
    assert after == before


def test_a_change_keeps_created_and_moves_updated_of_its_record_alone(store: RecordStore) -> None:
    store.prepare([GROUPAROO])
    for source, rows in grouparoo_rows().items():
        put(store, GROUPAROO, source, rows)
    before = stamps(store)
    counts = put(
        store,
        GROUPAROO,
        USERS,
        [
            {"user_id": 1, "email": "new@x.io", "account_id": 1},
            {"user_id": 2, "email": "u2@x.io", "account_id": 1},
        ],
    )
    after = stamps(store)
    assert counts == MergeCounts(updated=1, unchanged=1)
    assert {k for k in after if after[k] != before[k]} == {1}
    assert after[1][0] == before[1][0]
    assert after[1][1] > before[1][1]


def stamps(store: RecordStore) -> dict[int, tuple[datetime, datetime]]:
    rows = store.records(GROUPAROO, customer=None, key=None, limit=100).to_pylist()
    return {r["user_id"]: (r["_created_at"], r["_updated_at"]) for r in rows}


def test_of_rows_with_one_key_the_last_wins(store: RecordStore) -> None:
    store.prepare([GROUPAROO])
    rows = [{"user_id": 1, "email": f"{i}@x.io"} for i in range(3)]
    assert put(store, GROUPAROO, USERS, rows) == MergeCounts(inserted=1)
    assert records(store, GROUPAROO)[1]["email"] == "2@x.io"
    put(store, GROUPAROO, USERS, [{"user_id": 1, "_deleted": True}, {"user_id": 1, "email": "b@x.io"}])
    assert records(store, GROUPAROO)[1]["email"] == "b@x.io"
    put(store, GROUPAROO, USERS, [{"user_id": 1, "email": "c@x.io"}, {"user_id": 1, "_deleted": True}])
    assert records(store, GROUPAROO) == {}


def test_one_key_in_two_models_gives_two_records(store: RecordStore) -> None:
    other = dataclasses.replace(GROUPAROO, id=ModelId("clients"), sources=(USERS,), columns=USERS.columns)
    store.prepare([GROUPAROO, other])
    put(store, GROUPAROO, USERS, [{"user_id": 1, "email": "a"}])
    put(store, other, USERS, [{"user_id": 1, "email": "b"}])
    assert only(store, GROUPAROO)["email"] == "a"
    assert only(store, other)["email"] == "b"


def test_an_exception_rolls_back_all_of_a_merge(store: RecordStore) -> None:
    store.prepare([GROUPAROO])
    rows = grouparoo_rows()

    def merge_and_fail() -> None:
        with store.merging(GROUPAROO) as transaction:
            assert transaction is not None
            for source in rows:
                transaction.apply_rows(scope(source), batch(source, rows[source]))
            transaction.recompute()
            transaction.mark_applied(FeedId("f"), Applied(LogId("l"), 1, BatchId("b")))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        merge_and_fail()
    assert store.count(GROUPAROO) == 0
    assert store.applied(GROUPAROO) == {}
    assert store.staged_rows(PURCHASE, customer=ACME, value="1", limit=9).num_rows == 0


def test_what_was_applied_is_remembered_with_the_rows(store: RecordStore) -> None:
    store.prepare([GROUPAROO])
    first = Applied(LogId("log"), 1, BatchId("b1"))
    second = Applied(LogId("log"), 2, BatchId("b2"))
    for applied in (first, second):
        with store.merging(GROUPAROO) as transaction:
            assert transaction is not None
            transaction.apply_rows(scope(USERS, feed="f"), batch(USERS, []))
            transaction.mark_applied(FeedId("f"), applied)
        assert store.applied(GROUPAROO) == {FeedId("f"): applied}
    with store.merging(GROUPAROO) as transaction:
        assert transaction is not None
        assert transaction.applied() == {FeedId("f"): second}
        assert transaction.contract() == {s.id: shape_fingerprint(s) for s in GROUPAROO.sources}


def test_a_second_merge_of_the_model_finds_the_lock_taken(store: RecordStore) -> None:
    store.prepare([GROUPAROO])
    with store.merging(GROUPAROO) as first, store.merging(GROUPAROO) as second:
        assert first is not None
        assert second is None
    with store.merging(GROUPAROO) as third:
        assert third is not None


# --- records and what is staged for them --------------------------------------------------------


def test_a_deleted_record_finds_its_rows_again_when_it_returns(store: RecordStore) -> None:
    store.prepare([GROUPAROO])
    rows = grouparoo_rows()
    for source in rows:
        put(store, GROUPAROO, source, rows[source])
    before = records(store, GROUPAROO)
    assert put(store, GROUPAROO, USERS, [{"user_id": 1, "_deleted": True}]) == MergeCounts(deleted=1)
    assert 1 not in records(store, GROUPAROO)
    put(store, GROUPAROO, USERS, rows[USERS])
    assert records(store, GROUPAROO) == before


def test_a_row_that_moves_changes_its_old_and_its_new_record(store: RecordStore) -> None:
    store.prepare([GROUPAROO])
    for source, rows in grouparoo_rows().items():
        put(store, GROUPAROO, source, rows)
    counts = put(store, GROUPAROO, PURCHASE, [{"id": 2, "buyer": 1, "item": "Pear", "amount": "0.78"}])
    found = records(store, GROUPAROO)
    assert counts == MergeCounts(updated=2)
    assert (found[1]["purchases"], found[2]["purchases"]) == (8, 4)
    put(store, GROUPAROO, PURCHASE, [{"id": 2, "buyer": None, "amount": "0.78"}])
    put(store, GROUPAROO, PURCHASE, [{"id": 7, "_deleted": True}, {"id": 404, "_deleted": True}])
    found = records(store, GROUPAROO)
    assert (found[1]["purchases"], found[2]["purchases"]) == (7, 3)


def test_a_record_without_a_mapped_value_has_the_empty_values(store: RecordStore) -> None:
    store.prepare([GROUPAROO])
    for source, rows in grouparoo_rows().items():
        put(store, GROUPAROO, source, rows)
    put(
        store,
        GROUPAROO,
        USERS,
        [
            {"user_id": 1, "account_id": None},
            {"user_id": 2, "account_id": 99},
            {"user_id": 3, "account_id": 3},
        ],
    )
    found = records(store, GROUPAROO)
    assert [found[u]["account_name"] for u in (1, 2, 3)] == [None, None, "banana_stand"]


CITY = secondary(
    "cities",
    {"city": "integer", "town": "string"},
    ("city", "city_id"),
    prop("city_name", "string", "value", "town"),
)
ACCOUNT_WITH_CITY = secondary(
    "accounts",
    {"id": "integer", "name": "string", "city": "integer"},
    ("id", "account_id"),
    prop("account_name", "string", "value", "name"),
    prop("city_id", "integer", "value", "city"),
)
CHAIN = model(USERS, ACCOUNT_WITH_CITY, CITY)


def test_a_change_runs_along_a_chain_of_sources_to_all_records(store: RecordStore) -> None:
    store.prepare([CHAIN])
    put(store, CHAIN, CITY, [{"city": 7, "town": "Ghent"}, {"city": 8, "town": "Lier"}])
    put(store, CHAIN, USERS, [{"user_id": i, "account_id": 1 + i % 2} for i in range(10)])
    put(store, CHAIN, ACCOUNT_WITH_CITY, [{"id": 1, "name": "one", "city": 7}])
    assert [r["city_name"] for r in records(store, CHAIN).values()] == ["Ghent", None] * 5
    counts = put(store, CHAIN, ACCOUNT_WITH_CITY, [{"id": 1, "name": "one", "city": 8}])
    assert counts.updated == 10
    assert [r["city_name"] for r in records(store, CHAIN).values()] == ["Lier", None] * 5
    put(store, CHAIN, CITY, [{"city": 8, "town": "Lierre"}])
    put(store, CHAIN, USERS, [{"user_id": 0, "account_id": 2}])
    assert [r["city_name"] for r in records(store, CHAIN).values()] == [None, None, *["Lierre", None] * 4]
    put(store, CHAIN, ACCOUNT_WITH_CITY, [{"id": 1, "_deleted": True}])
    assert {r["city_name"] for r in records(store, CHAIN).values()} == {None}


def test_batches_of_all_sources_in_one_transaction_end_the_same(store: RecordStore) -> None:
    store.prepare([CHAIN])
    put(store, CHAIN, USERS, [{"user_id": 1, "account_id": 1}])
    put(store, CHAIN, ACCOUNT_WITH_CITY, [{"id": 1, "name": "one", "city": 7}])
    put(store, CHAIN, CITY, [{"city": 7, "town": "Ghent"}])
    merge(
        store,
        CHAIN,
        (scope(ACCOUNT_WITH_CITY), batch(ACCOUNT_WITH_CITY, [{"id": 1, "_deleted": True}])),
        (scope(USERS), batch(USERS, [{"user_id": 1, "account_id": 2}, {"user_id": 2, "account_id": 1}])),
        (scope(CITY), batch(CITY, [{"city": 8, "town": "Lier"}])),
        (scope(ACCOUNT_WITH_CITY), batch(ACCOUNT_WITH_CITY, [{"id": 2, "name": "two", "city": 8}])),
    )
    found = records(store, CHAIN)
    assert (found[1]["account_name"], found[1]["city_name"]) == ("two", "Lier")
    assert (found[2]["account_name"], found[2]["city_name"]) == (None, None)


def test_many_new_records_with_one_value_do_not_visit_those_that_were_there(store: RecordStore) -> None:
    store.prepare([GROUPAROO])
    put(store, GROUPAROO, ACCOUNT, [{"id": 1, "name": "one"}])
    put(store, GROUPAROO, USERS, [{"user_id": i, "account_id": 1} for i in range(2000)])
    # A change made behind the store's back shows which records a merge looked at.
    spoil(store, GROUPAROO, "account_name")
    put(store, GROUPAROO, USERS, [{"user_id": i, "account_id": 1} for i in range(2000, 2010)])
    found = records(store, GROUPAROO)
    assert {found[u]["account_name"] for u in range(2000)} == {"spoiled"}
    assert {found[u]["account_name"] for u in range(2000, 2010)} == {"one"}
    put(store, GROUPAROO, ACCOUNT, [{"id": 1, "name": "uno"}])
    assert {r["account_name"] for r in records(store, GROUPAROO).values()} == {"uno"}


def spoil(store: RecordStore, shape: ModelShape, name: str) -> None:
    with store.merging(shape) as transaction:
        assert isinstance(transaction, SqlMerge)
        frame = transaction._frame
        frame.run(f"UPDATE {frame.records} SET {name} = 'spoiled'")


# --- invalid values -----------------------------------------------------------------------------


def bad(value: str) -> dict[str, str]:
    return {"value": value, "reason": "does not fit"}


def test_invalid_values_of_all_sources_are_remembered_side_by_side(store: RecordStore) -> None:
    source = secondary(
        "things",
        {"id": "integer", "n": "integer", "v": "integer", "w": "integer"},
        ("n", "user_id"),
        prop("total", "integer", "sum", "v"),
        prop("most", "integer", "max", "v"),
        prop("other", "integer", "max", "w"),
    )
    shape = model(USERS, source)
    store.prepare([shape])
    put(store, shape, USERS, [{"user_id": 1, "_invalid": {"email": bad("nobody")}}])
    put(
        store,
        shape,
        source,
        [
            {"id": 1, "n": 1, "_invalid": {"v": bad("zz")}},
            {"id": 2, "n": 1, "_invalid": {"v": bad("yy"), "n": bad("no property")}},
            {"id": 3, "n": 1, "v": 5, "w": 6},
        ],
    )
    secondary_entries = {"total": bad("yy"), "most": bad("yy")}
    assert invalid_of(store, shape) == {"email": bad("nobody"), **secondary_entries}
    put(store, shape, USERS, [{"user_id": 1, "email": "a@x.io"}])
    assert invalid_of(store, shape) == secondary_entries
    put(store, shape, USERS, [{"user_id": 1, "_invalid": {"account_id": bad('\0 ö "')}}])
    put(store, shape, source, [{"id": 1, "n": 1, "v": 1}, {"id": 2, "_deleted": True}])
    assert invalid_of(store, shape) == {"account_id": bad('\ufffd ö "')}
    put(store, shape, USERS, [{"user_id": 1}])
    assert invalid_of(store, shape) is None


def invalid_of(store: RecordStore, shape: ModelShape) -> Any:
    text = only(store, shape)["_invalid"]
    return None if text is None else json.loads(text)


# --- customers ----------------------------------------------------------------------------------


def test_customers_do_not_see_each_others_rows(store: RecordStore) -> None:
    store.prepare([GROUPAROO])
    for customer in ("acme", "blue"):
        merge(store, GROUPAROO, (scope(USERS, customer), batch(USERS, [{"user_id": 1}], customer)))
    rows = [{"id": 1, "buyer": 1, "amount": "5"}]
    merge(store, GROUPAROO, (scope(PURCHASE, "blue"), batch(PURCHASE, rows, "blue")))
    found = store.records(GROUPAROO, customer=None, key=None, limit=9).to_pylist()
    assert [(r["_customer_id"], r["purchases"]) for r in found] == [("acme", 0), ("blue", 1)]
    merge(store, GROUPAROO, (scope(USERS, "acme"), batch(USERS, [{"user_id": 1, "_deleted": True}], "acme")))
    (left,) = store.records(GROUPAROO, customer=None, key=("1",), limit=9).to_pylist()
    assert left["_customer_id"] == "blue"
    assert store.records(GROUPAROO, customer="acme", key=None, limit=9).num_rows == 0


def test_a_row_that_changes_its_customer_leaves_none_behind(store: RecordStore) -> None:
    users = dataclasses.replace(USERS, customer_in_column=True)
    purchases = dataclasses.replace(PURCHASE, customer_in_column=True)
    shape = model(users, purchases)
    store.prepare([shape])

    def apply(source: SourceShape, *rows: dict[str, Any]) -> None:
        merge(store, shape, (scope(source, None), batch(source, rows, None)))

    apply(users, {"user_id": 1, "_customer_id": "a"}, {"user_id": 2, "_customer_id": "a"})
    apply(purchases, {"id": 1, "buyer": 1, "amount": "1", "_customer_id": "a"})
    apply(users, {"user_id": 1, "_customer_id": "b"})
    assert by_customer(store, shape) == {("b", 1): 0, ("a", 2): 0}
    apply(purchases, {"id": 1, "buyer": 1, "amount": "1", "_customer_id": "b"})
    assert by_customer(store, shape) == {("b", 1): 1, ("a", 2): 0}
    apply(users, {"user_id": 1, "_deleted": True}, {"user_id": 2, "_customer_id": "b"})
    assert by_customer(store, shape) == {("b", 2): 0}


def test_a_staged_row_that_changes_its_customer_leaves_the_old_ones_record(store: RecordStore) -> None:
    users = dataclasses.replace(USERS, customer_in_column=True)
    purchases = secondary(
        "purchases",
        {"id": "integer", "account": "integer"},
        ("account", "account_id"),
        prop("purchases", "integer", "count"),
        customer_in_column=True,
    )
    shape = model(users, purchases)
    store.prepare([shape])
    people = [{"user_id": 1, "_customer_id": "a"}, {"user_id": 2, "_customer_id": "b"}]
    bought = [{"id": 1, "account": 7, "_customer_id": customer} for customer in ("a", "b")]
    everyone = batch(users, [{**person, "account_id": 7} for person in people], None)
    merge(store, shape, (scope(users, None), everyone))
    merge(store, shape, (scope(purchases, None), batch(purchases, bought[:1], None)))
    assert by_customer(store, shape) == {("a", 1): 1, ("b", 2): 0}
    merge(store, shape, (scope(purchases, None), batch(purchases, bought[1:], None)))
    assert by_customer(store, shape) == {("a", 1): 0, ("b", 2): 1}


def by_customer(store: RecordStore, shape: ModelShape) -> dict[tuple[str, int], int]:
    found = store.records(shape, customer=None, key=None, limit=99).to_pylist()
    return {(r["_customer_id"], r["user_id"]): r["purchases"] for r in found}


def test_rows_of_several_apps_with_one_key_stay_apart(store: RecordStore) -> None:
    users = dataclasses.replace(USERS, many_apps=True)
    purchases = dataclasses.replace(PURCHASE, many_apps=True)
    shape = model(users, purchases)
    store.prepare([shape])
    for app, customer in (("one", "a"), ("two", "b")):
        merge(
            store,
            shape,
            (scope(users, customer, app), batch(users, [{"user_id": 1}], customer)),
            (
                scope(purchases, customer, app),
                batch(purchases, [{"id": 1, "buyer": 1, "amount": "1"}], customer),
            ),
        )
    merge(
        store,
        shape,
        (scope(purchases, "b", "two"), batch(purchases, [{"id": 1, "_deleted": True}], "b")),
    )
    assert by_customer(store, shape) == {("a", 1): 1, ("b", 1): 0}


def test_a_dropped_customer_leaves_nothing_of_the_feed(store: RecordStore, store_url: str) -> None:
    users = dataclasses.replace(USERS, customer_in_column=True)
    purchases = dataclasses.replace(PURCHASE, customer_in_column=True)
    shape = model(users, purchases)
    store.prepare([shape])
    people = [{"user_id": i, "_customer_id": "ab"[i % 2]} for i in range(4)]
    bought = [{"id": i, "buyer": i, "amount": "1", "_customer_id": "ab"[i % 2]} for i in range(4)]
    merge(store, shape, (scope(users, None), batch(users, people)))
    merge(store, shape, (scope(purchases, None), batch(purchases, bought)))
    with store.merging(shape) as transaction:
        assert transaction is not None
        transaction.drop_customer(scope(purchases, None), "a", 3)
        transaction.recompute()
    assert by_customer(store, shape) == {("a", 0): 0, ("a", 2): 0, ("b", 1): 1, ("b", 3): 1}
    with store.merging(shape) as transaction:
        assert transaction is not None
        assert transaction.drop_customer(scope(users, None), "a", 2).deleted == 2
    assert by_customer(store, shape) == {("b", 1): 1, ("b", 3): 1}
    assert raw_rows(store_url, "SELECT * FROM headrace._moved") == [("a", 3)]
