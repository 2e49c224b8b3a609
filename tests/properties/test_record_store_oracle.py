"""Whatever the batches and their split, records equal an oracle that knows no SQL."""

from __future__ import annotations

import contextlib
import json
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.shape import SourceShape
from headrace.ports import RecordStore
from headrace.stores import open_store
from headrace.stores.merge import SqlMerge
from tests.conformance.store_rows import batch, model, primary, prop, scope, secondary
from tests.conftest import database_url
from tests.properties.store_oracle import Oracle

VALUES: dict[str, list[Any]] = {
    "boolean": [True, False],
    "integer": [-(2**63), -7, 0, 1, 2, 3, 2**62, 2**63 - 1],
    "float": [-1e16, -1.5, 0.0, 0.1, 0.2, 0.3, 1.0, 1e16],
    "decimal": ["-0.1", "0", "0.1", "2.5", "9", "10", "12345678901234567890.123456789"],
    "string": ["", "A", "a", "a%", "b_", "é", "😀", 'q"\\'],
    "email": ["a@b.c", "B@b.c"],
    "phone": ["123", "+32 4"],
    "url": ["http://a", "http://B"],
    "date": [date(1, 1, 1), date(2020, 2, 29), date(2021, 1, 1)],
    "datetime": [datetime(2020, 1, 1, 0, 0, 0, 1, UTC), datetime(2020, 1, 1, tzinfo=UTC)],
    "json": ["1", '"1"', "[1,null]", '{"a":{"b":2.5}}'],
}
NUMBERS = ("integer", "float", "decimal")
STAMP = "stamp"
FILTERS: list[Any] = [
    [("integer", "gt", "0")],
    [("integer", "in", "1", "3"), ("decimal", "exists")],
    [("integer", "not_in", "1", "3")],
    [("decimal", "gte", "2.5")],
    [("decimal", "ne", "10")],
    [("decimal", "in", "0", "10")],
    [("float", "lt", "0.3")],
    [("float", "eq", "0.1")],
    [("boolean", "eq", "true")],
    [("string", "lte", "a")],
    [("string", "eq", "a")],
    [("string", "contains", "a")],
    [("string", "not_contains", "%")],
    [("string", "starts_with", "b_")],
    [("date", "gt", "2020-02-29")],
    [("datetime", "lt", "2020-01-01T00:00:00.000001Z")],
    [("json", "not_exists")],
    [[("integer", "eq", "1"), ("string", "eq", "A")], ("boolean", "ne", "true")],
]


def _properties() -> Iterator[Any]:
    for t in VALUES:
        yield prop(f"{t}_count", "integer", "count", t)
        yield prop(f"{t}_distinct", "integer", "count_distinct", t)
        yield prop(f"{t}_value", t, "value", t)
        yield prop(f"{t}_last", t, "most_recent", t, order_by=STAMP)
        yield prop(f"{t}_first", t, "least_recent", t, order_by=STAMP)
        yield prop(f"{t}_list", "json", "list", t)
        if t != "json":
            yield prop(f"{t}_min", t, "min", t)
            yield prop(f"{t}_max", t, "max", t)
        if t in NUMBERS:
            yield prop(f"{t}_sum", t, "sum", t)
            yield prop(f"{t}_average", "float" if t == "float" else "decimal", "average", t)
    yield prop("rows", "integer", "count")
    for place, groups in enumerate(FILTERS):
        yield prop(f"filtered_{place}", "json", "list", "integer", where=groups)


PEOPLE = primary({"id": "integer", "name": "string", "code": "decimal"}, customer_in_column=True)
THINGS = secondary(
    "things",
    {"a": "decimal", "b": "string", "person": "integer", STAMP: "datetime", **{t: t for t in VALUES}},
    ("person", "id"),
    *_properties(),
    key=2,
    customer_in_column=True,
)
CODES = secondary(
    "codes",
    {"x": "float", "owner": "decimal", "label": "string"},
    ("owner", "code"),
    prop("labels", "json", "list", "label"),
    customer_in_column=True,
)
LEVELS = secondary(
    "levels",
    {"level": "integer", "title": "string"},
    ("level", "integer_max"),
    prop("title", "string", "max", "title"),
    customer_in_column=True,
)
MODEL = model(PEOPLE, THINGS, CODES, LEVELS)


def maybe(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


def rows(source: SourceShape, **columns: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    entry = st.sampled_from(["x", "y"]).map(lambda v: {"value": v, "reason": "does not fit"})
    invalid = st.dictionaries(st.sampled_from([source.columns[-1].name]), entry, max_size=1)
    row = st.fixed_dictionaries(
        {
            **columns,
            "_customer_id": st.sampled_from(["ann", "bob"]),
            "_deleted": st.sampled_from([False, False, False, True]),
            "_invalid": st.one_of(st.none(), invalid.map(lambda d: d or None)),
        }
    ).map(_consistent)
    return st.tuples(st.just(source.id), st.lists(row, max_size=8))


def _consistent(row: dict[str, Any]) -> dict[str, Any]:
    """What is invalid is null."""
    return {**row, **dict.fromkeys(row["_invalid"] or ())}


ids = st.integers(0, 3)
CHANGES = st.one_of(
    rows(PEOPLE, id=ids, name=maybe(VALUES["string"]), code=maybe(VALUES["decimal"][:4])),
    rows(
        THINGS,
        a=st.sampled_from(["9", "10", "-1.5"]),
        b=st.sampled_from(["a", "B", ""]),
        person=st.one_of(st.none(), ids),
        stamp=maybe(VALUES["datetime"]),
        **{t: maybe(values) for t, values in VALUES.items()},
    ),
    rows(
        CODES,
        x=st.sampled_from([-0.5, 0.1, 2.0, 10.0]),
        owner=maybe(VALUES["decimal"][:4]),
        label=maybe(VALUES["string"]),
    ),
    rows(LEVELS, level=st.sampled_from(VALUES["integer"]), title=maybe(VALUES["string"])),
)
TRANSACTIONS = st.lists(st.lists(CHANGES, min_size=1, max_size=4), min_size=1, max_size=5)


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def store(request: pytest.FixtureRequest) -> Iterator[RecordStore]:
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            url = f"sqlite:///{directory}/store.db"
        else:
            url = stack.enter_context(_database(request.getfixturevalue("postgres_server")))
        store = open_store(
            data_source_id="main", url=url, namespace="headrace", workspace="w1", schema="shop"
        )
        stack.callback(store.close)
        store.prepare([MODEL])
        yield store


@contextlib.contextmanager
def _database(server: str) -> Iterator[str]:
    name = f"headrace_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
        try:
            yield database_url(server, name)
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(transactions=TRANSACTIONS)
def test_records_equal_the_oracle_after_every_merge(store: RecordStore, transactions: Any) -> None:
    empty(store)
    oracle = Oracle(MODEL)
    for changes in transactions:
        with store.merging(MODEL) as transaction:
            assert transaction is not None
            for source_id, given_rows in changes:
                source = MODEL.source(source_id)
                transaction.apply_rows(scope(source, None), batch(source, given_rows))
                oracle.apply(source, given_rows)
            transaction.recompute()
        assert differences(found(store), oracle.records()) == []


def found(store: RecordStore) -> dict[tuple[Any, ...], Any]:
    records = {}
    for record in store.records(MODEL, customer=None, key=None, limit=1000).to_pylist():
        customer = record.pop("_customer_id")
        del record["_created_at"], record["_updated_at"]
        record["_invalid"] = record["_invalid"] and json.loads(record["_invalid"])
        records[customer, record["id"]] = record
    return records


JSON = frozenset(c.name for c in MODEL.columns if c.type == "json")


def plain(name: str, value: Any) -> Any:
    """JSON by value: 1 and 1.0 are one number."""
    return json.loads(value) if name in JSON and value is not None else value


def differences(found: dict[Any, Any], expected: dict[Any, Any]) -> list[Any]:
    """Of records that both have: key, property, what is found and what is expected."""
    both = found.keys() & expected.keys()
    return [
        *sorted(found.keys() ^ expected.keys()),
        *(
            (key, name, found[key][name], value)
            for key in sorted(both)
            for name, value in expected[key].items()
            if plain(name, found[key][name]) != plain(name, value)
        ),
    ]


def empty(store: RecordStore) -> None:
    with store.merging(MODEL) as transaction:
        assert isinstance(transaction, SqlMerge)
        frame = transaction._frame
        for table in (frame.records, *map(frame.staged, frame.secondary)):
            frame.run(f"DELETE FROM {table}")
