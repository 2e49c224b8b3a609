"""Every `RecordReader` reads one customer's records alone, in order, and sees that they have left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.record_query import RecordQuery, Sort
from headrace.domain.record_query_text import parse_query
from headrace.domain.shape import ModelShape
from headrace.errors import ConfigurationError, InvariantError, RouteMovedError, StoreUnavailableError
from headrace.ports import RecordStore
from headrace.ports.records import RecordReader
from headrace.stores.connect import open_record_reader
from tests.conformance.store_rows import batch, model, primary, scope

SHAPE = {
    "region": "string",
    "id": "integer",
    "name": "string",
    "score": "float",
    "total": "decimal",
    "born": "date",
    "seen": "datetime",
    "active": "boolean",
    "extra": "json",
}
USERS = primary(SHAPE, key=2)
MODEL = model(USERS)
V = 7
"""The routing version that reads of these tests are routed at."""


@pytest.fixture
def reader(store: RecordStore, store_url: str) -> Iterator[RecordReader]:
    store.prepare([MODEL])
    opened = open_reader(store_url)
    yield opened
    opened.close()


def open_reader(url: str, *, data_source_id: str = "main", read_url: str | None = None) -> RecordReader:
    return open_record_reader(
        data_source_id=data_source_id,
        url=url,
        read_url=read_url,
        namespace="headrace",
        workspace="w1",
        schema="shop",
    )


def put(store: RecordStore, rows: Sequence[dict[str, Any]], customer: str = "acme") -> None:
    with store.merging(MODEL) as merge:
        assert merge is not None
        rows = [{"region": "eu", **row} for row in rows]
        merge.apply_rows(scope(USERS, customer), batch(USERS, rows, customer))
        merge.recompute()


def drop(store: RecordStore, customer: str, epoch: int) -> None:
    with store.merging(MODEL) as merge:
        assert merge is not None
        merge.drop_customer(scope(USERS, customer), customer, epoch)


def ids(reader: RecordReader, *filters: str, sort: str | None = None, shape: ModelShape = MODEL) -> list[int]:
    """The ids that a query finds, read in pages of two."""
    found: list[int] = []
    after = None
    while True:
        query = parse_query(shape, filters=filters, sort=sort, fields="id", limit=2)
        query = RecordQuery(
            filters=query.filters, sort=query.sort, fields=query.fields, limit=query.limit, after=after
        )
        page = reader.page(shape, query, customer="acme", routed_at=V)
        found += [json.loads(item)["id"] for item in page.items]
        if page.end is None:
            return found
        after = page.end


def test_values_are_told_exactly(store: RecordStore, reader: RecordReader) -> None:
    put(
        store,
        [
            {
                "id": 2**62 + 1,
                "name": 'Zoë "%s" \\ \u2028',
                "score": 0.1,
                "total": "12345678901234567890.123456789",
                "born": 0,
                "seen": 1,
                "active": True,
                "extra": '{"n":12345678901234567890,"s":["%"]}',
                "_invalid": {"name": {"reason": "r", "value": "v"}},
            },
            {"id": 1},
        ],
    )
    text = reader.one(MODEL, ("eu", str(2**62 + 1)), customer="acme", routed_at=V)
    assert text is not None
    record = json.loads(text, parse_int=str)
    made, changed = record.pop("_created_at"), record.pop("_updated_at")
    assert made == changed
    assert len(made) == len("2026-01-01T00:00:00.000000Z")
    assert made.endswith("Z")
    assert record == {
        "region": "eu",
        "id": str(2**62 + 1),
        "name": 'Zoë "%s" \\ \u2028',
        "score": 0.1,
        "total": "12345678901234567890.123456789",
        "born": "1970-01-01",
        "seen": "1970-01-01T00:00:00.000001Z",
        "active": True,
        "extra": {"n": "12345678901234567890", "s": ["%"]},
        "_invalid": {"name": {"reason": "r", "value": "v"}},
    }
    empty = reader.one(MODEL, ("eu", "1"), customer="acme", routed_at=V)
    assert empty is not None
    assert {
        v for k, v in json.loads(empty).items() if k not in {"region", "id", "_created_at", "_updated_at"}
    } == {None}


def test_a_read_finds_its_own_customer_alone(store: RecordStore, reader: RecordReader) -> None:
    put(store, [{"id": 1, "name": "mine"}])
    put(store, [{"id": 1, "name": "theirs"}, {"id": 2, "name": "theirs"}], "globex")
    page = reader.page(MODEL, RecordQuery(fields=("name",)), customer="acme", routed_at=V)
    assert page.items == ('{"name":"mine"}',)
    assert reader.one(MODEL, ("eu", "2"), customer="acme", routed_at=V) is None
    assert reader.one(MODEL, ("eu", "1"), ["name"], customer="globex", routed_at=V) == '{"name":"theirs"}'


def test_a_read_without_a_customer_fails_closed(store: RecordStore, reader: RecordReader) -> None:
    put(store, [{"id": 1}])
    with pytest.raises(InvariantError):
        reader.page(MODEL, RecordQuery(), customer="", routed_at=V)
    with pytest.raises(InvariantError):
        reader.one(MODEL, ("eu", "1"), customer="", routed_at=V)


def test_a_read_by_an_older_route_than_the_move_is_refused(store: RecordStore, reader: RecordReader) -> None:
    put(store, [{"id": 1}])
    put(store, [{"id": 1}], "globex")
    drop(store, "acme", V + 1)
    with pytest.raises(RouteMovedError):
        reader.page(MODEL, RecordQuery(), customer="acme", routed_at=V)
    with pytest.raises(RouteMovedError):
        reader.one(MODEL, ("eu", "1"), customer="acme", routed_at=V)
    # Resolved at or after the move the route may lead here again.
    assert reader.page(MODEL, RecordQuery(), customer="acme", routed_at=V + 1).items == ()
    assert reader.one(MODEL, ("eu", "1"), customer="globex", routed_at=V) is not None


def test_filters_mean_what_those_of_definitions_mean(store: RecordStore, reader: RecordReader) -> None:
    put(
        store,
        [
            {"id": 1, "name": "a%b", "total": "9", "score": 1.5, "active": True, "born": 10},
            {"id": 2, "name": "A_c", "total": "10", "score": -1.0, "active": False, "born": 20},
            {"id": 3, "name": "a,c\\", "total": "9.5", "seen": 5_000_000},
            {"id": 4},
        ],
    )
    found = lambda *filters: ids(reader, *filters)  # noqa: E731
    assert found("total:gt:9") == [2, 3]
    assert found("total:eq:9.000") == [1]
    assert found("total:lte:9.5") == [1, 3]
    assert found("name:ne:A_c") == [1, 3]
    assert found("name:contains:%") == [1]
    assert found("name:starts_with:a") == [1, 3]
    assert found("name:gt:a") == [1, 3]
    assert found("name:in:a%b,a\\,c\\\\") == [1, 3]
    assert found("name:not_in:a%b") == [2, 3]
    assert found("name:not_exists") == [4]
    assert found("name:exists", "active:eq:true") == [1]
    assert found("active:eq:no") == [2]
    assert found("born:gte:1970-01-21") == [2]
    assert found("seen:eq:1970-01-01T01:00:05+01:00") == [3]
    assert found("score:lt:0") == [2]
    assert found("id:in:1,3,9") == [1, 3]
    assert found("extra:exists") == []
    assert found("_created_at:gt:2020-01-01") == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("sort", "wanted"),
    [
        (None, [1, 2, 3, 4, 5]),
        ("name", [2, 4, 1, 3, 5]),
        ("-name", [1, 2, 4, 3, 5]),
        ("total,-id", [4, 2, 1, 5, 3]),
        ("-total", [1, 2, 4, 3, 5]),
        ("-id", [5, 4, 3, 2, 1]),
        ("active,-score", [2, 1, 4, 3, 5]),
    ],
)
def test_sorting_puts_nulls_last_and_ends_with_the_key(
    store: RecordStore, reader: RecordReader, sort: str | None, wanted: list[int]
) -> None:
    put(
        store,
        [
            {"id": 1, "name": "b", "total": "10", "score": 2.0, "active": True},
            {"id": 2, "name": "B", "total": "9", "score": 1e300, "active": False},
            {"id": 3, "active": True},
            {"id": 4, "name": "B", "total": "9", "score": -1.0, "active": True},
            {"id": 5},
        ],
    )
    assert ids(reader, sort=sort) == wanted


def test_a_composite_key_is_paged_through_whole(store: RecordStore, reader: RecordReader) -> None:
    put(store, [{"region": r, "id": i} for r in ("eu", "us", "as") for i in range(3)])
    assert ids(reader) == [0, 1, 2] * 3
    assert ids(reader, sort="id") == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert ids(reader, sort="-region") == [0, 1, 2] * 3


def test_tables_of_another_data_source_are_not_read(
    store: RecordStore, reader: RecordReader, store_url: str
) -> None:
    put(store, [{"id": 1}])
    other = open_reader(store_url, data_source_id="other")
    with pytest.raises(ConfigurationError, match="not stamped as its own"):
        other.page(MODEL, RecordQuery(), customer="acme", routed_at=V)
    other.close()


def test_a_reader_makes_nothing(store_url: str) -> None:
    reader = open_reader(store_url)
    with pytest.raises((ConfigurationError, StoreUnavailableError)):
        reader.page(MODEL, RecordQuery(sort=(Sort("name"),)), customer="acme", routed_at=V)
    reader.close()
    if store_url.startswith("sqlite"):
        assert not Path(store_url.removeprefix("sqlite:///")).exists()
