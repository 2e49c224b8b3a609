"""What every record store does, on PostgreSQL and SQLite alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import pytest

from headrace.domain.shape import ModelShape, SourceShape
from headrace.ports import FeedScope, MergeCounts, RecordStore
from tests.conformance.store_rows import (
    ACME,
    batch,
    keys,
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
