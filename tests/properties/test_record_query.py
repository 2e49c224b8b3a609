"""Filters, sorting and paging of both stores against a model in Python of what they mean."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cmp_to_key
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.record_query_text import encode_place, parse_query
from headrace.ports import RecordStore
from headrace.ports.records import RecordReader
from headrace.stores.connect import open_record_reader, open_store
from tests.conformance.store_rows import batch, model, primary, scope
from tests.conftest import database_url

TYPES = {
    "region": "string",
    "id": "integer",
    "name": "string",
    "score": "float",
    "total": "decimal",
    "active": "boolean",
    "born": "date",
    "seen": "datetime",
}
USERS = primary(TYPES, key=2)
MODEL = model(USERS)
TEXTS = ["", "a", "A", "b", "é", "aé%_", "a,b", "\\", "\U0001f600", "\ue000"]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "region": st.sampled_from(["eu", "us", "É"]),
    "id": st.integers(-3, 3) | st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1]),
    "name": st.sampled_from(TEXTS),
    "score": st.sampled_from([0.0, 0.1, -1.5, 1e16, 1e-7, 123456789.125]),
    "total": st.sampled_from(["0", "9", "10", "9.5", "-0.1", "12345678901234567890.5"]),
    "active": st.booleans(),
    "born": st.sampled_from(["0001-01-01", "1999-12-31", "2000-01-01", "9999-12-31"]),
    "seen": st.sampled_from(["1970-01-01T00:00:00.000000Z", "2000-01-01T12:00:00.000001Z"]),
}
NULLABLE = [name for name in TYPES if name not in {"region", "id"}]
Row = dict[str, Any]


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    keys = draw(st.sets(st.tuples(VALUES["region"], VALUES["id"]), max_size=12))
    made = []
    for region, id_ in sorted(keys):
        others = {name: draw(st.none() | VALUES[name]) for name in NULLABLE}
        made.append({"region": region, "id": id_, **others})
    return made


@st.composite
def filters(draw: st.DrawFn) -> tuple[str, str, list[Any]]:
    name = draw(st.sampled_from(list(TYPES)))
    comparisons = ["eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in", "exists", "not_exists"]
    of_text = ["contains", "not_contains", "starts_with"] if TYPES[name] == "string" else []
    op = draw(st.sampled_from(comparisons + of_text))
    if op in {"exists", "not_exists"}:
        return name, op, []
    several = op in {"in", "not_in"}
    return name, op, draw(st.lists(VALUES[name], min_size=1, max_size=3 if several else 1))


SORTS = st.lists(
    st.tuples(st.sampled_from(list(TYPES)), st.booleans()), max_size=3, unique_by=lambda sort: sort[0]
)


def text_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def written(name: str, op: str, values: Sequence[Any]) -> str:
    texts = [text_of(value) for value in values]
    if op in {"in", "not_in"}:
        texts = [",".join(text.replace("\\", "\\\\").replace(",", "\\,") for text in texts)]
    return ":".join([name, op, *texts])


def comparable(name: str, value: Any) -> Any:
    if TYPES[name] == "decimal":
        return Decimal(value)
    return value.encode() if isinstance(value, str) else value


def holds(row: Row, name: str, op: str, values: Sequence[Any]) -> bool:
    value = row[name]
    if op in {"exists", "not_exists"}:
        return (value is not None) == (op == "exists")
    if value is None:
        return False
    mine, others = comparable(name, value), [comparable(name, other) for other in values]
    match op:
        case "eq" | "in":
            return mine in others
        case "ne" | "not_in":
            return mine not in others
        case "gt":
            return bool(mine > others[0])
        case "gte":
            return bool(mine >= others[0])
        case "lt":
            return bool(mine < others[0])
        case "lte":
            return bool(mine <= others[0])
        case "contains":
            return values[0] in value
        case "not_contains":
            return values[0] not in value
        case _:
            return bool(value.startswith(values[0]))


def in_order(found: list[Row], sort: Sequence[tuple[str, bool]]) -> list[Row]:
    named = {name for name, _ in sort}
    order = [*sort, *((name, False) for name in ("region", "id") if name not in named)]

    def compare(one: Row, other: Row) -> int:
        for name, descending in order:
            a, b = one[name], other[name]
            if a == b:
                continue
            if a is None or b is None:
                return 1 if a is None else -1
            less = comparable(name, a) < comparable(name, b)
            return -1 if less != descending else 1
        return 0

    return sorted(found, key=cmp_to_key(compare))


class Place:
    """A data source of one dialect, and what reads it."""

    def __init__(self, url: str) -> None:
        where = {"data_source_id": "main", "namespace": "headrace", "workspace": "w", "schema": "s"}
        self.store: RecordStore = open_store(url=url, **where)
        self.reader: RecordReader = open_record_reader(url=url, read_url=None, **where)
        self.store.prepare([MODEL])
        self.customers = 0

    def put(self, made: list[Row]) -> str:
        """The rows are those of a new customer; every other one has some of the same keys."""
        self.customers += 1
        customer = f"c{self.customers}"
        arrow = [{**row, "born": _days(row["born"]), "seen": _micros(row["seen"])} for row in made]
        with self.store.merging(MODEL) as merge:
            assert merge is not None
            merge.apply_rows(scope(USERS, customer), batch(USERS, arrow, customer))
        return customer

    def read(self, customer: str, asked: list[str], sort: str | None, limit: int) -> list[Row]:
        """All pages."""
        found: list[Row] = []
        after = None
        while True:
            query = parse_query(MODEL, filters=asked, sort=sort, limit=limit, after=after)
            page = self.reader.page(MODEL, query, customer=customer, routed_at=1)
            assert len(page.items) <= limit
            found += map(json.loads, page.items)
            if page.end is None:
                return found
            assert len(page.items) == limit
            after = encode_place(page.end, MODEL, query)

    def close(self) -> None:
        self.store.close()
        self.reader.close()


def _days(text: str | None) -> int | None:
    return None if text is None else (date.fromisoformat(text) - date(1970, 1, 1)).days


def _micros(text: str | None) -> int | None:
    if text is None:
        return None
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Iterator[list[Place]]:
    name = f"headrace_test_query_{Path(tmp_path_factory.getbasetemp()).name.replace('-', '_')}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}"'.encode())
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
        made = [
            Place(f"sqlite:///{tmp_path_factory.mktemp('query')}/store.db"),
            Place(database_url(postgres_server, name)),
        ]
        yield made
        for place in made:
            place.close()
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    made=rows(),
    asked=st.lists(filters(), max_size=2),
    sort=SORTS,
    limit=st.integers(1, 5),
)
def test_both_stores_read_what_the_model_says(
    places: list[Place],
    made: list[Row],
    asked: list[tuple[str, str, list[Any]]],
    sort: list[tuple[str, bool]],
    limit: int,
) -> None:
    wanted = [row for row in made if all(holds(row, *one) for one in asked)]
    texts = [written(*one) for one in asked]
    order = ",".join(f"{'-' if descending else ''}{name}" for name, descending in sort) or None
    for place in places:
        customer = place.put(made)
        found = place.read(customer, texts, order, limit)
        told = [{name: record[name] for name in TYPES} for record in found]
        assert told == in_order(wanted, sort)
