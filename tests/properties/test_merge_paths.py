"""Batches that one transaction takes together leave what each row alone, in a transaction of its own, leaves.

The plain way: a row a merge, of kind `rows`, recomputed at once. Beside it: rows of a batch updated by one
statement, loads that are appended, with and without a key, several batches to a transaction, one recompute
for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.shape import SourceShape
from headrace.domain.vocabulary import BatchKind
from headrace.ports import MergeCounts, RecordStore
from headrace.stores import open_store
from headrace.stores.merge import SqlMerge
from tests.conformance.store_rows import ACME, batch, model, primary, prop, scope, secondary

PEOPLE = primary({"id": "integer", "name": "string", "ltv": "decimal", "seen": "datetime", "team": "string"})
ORDERS = secondary(
    "orders",
    {"number": "integer", "person": "integer", "amount": "decimal", "item": "string"},
    ("person", "id"),
    prop("orders", "integer", "count"),
    prop("spent", "decimal", "sum", "amount"),
    prop("items", "json", "list", "item"),
    prop("dearest", "decimal", "max", "amount"),
)
TEAMS = secondary(
    "teams", {"name": "string", "title": "string"}, ("name", "team"), prop("title", "string", "max", "title")
)
MODEL = model(PEOPLE, ORDERS, TEAMS)

IDS = st.integers(1, 5)
NAMES = st.sampled_from([None, "", "a", "é"])
AMOUNTS = st.sampled_from([None, "0", "-0.1", "2.5", "12345678901234567890.1"])
MOMENTS = st.sampled_from([None, datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, 0, 0, 0, 1, UTC)])


def rows(source: SourceShape, **columns: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    last = source.columns[-1].name
    invalid = st.sampled_from([None, None, None, {last: {"value": "x", "reason": "does not fit"}}])
    deleted = st.sampled_from([False, False, False, False, True])
    row = st.fixed_dictionaries({**columns, "_deleted": deleted, "_invalid": invalid}).map(
        lambda row: {**row, last: None} if row["_invalid"] else row
    )
    kind = st.sampled_from([BatchKind.ROWS, BatchKind.LOAD])
    return st.tuples(st.just(source.id), st.lists(row, min_size=1, max_size=6), kind, st.booleans())


PEOPLE_ROWS = rows(PEOPLE, id=IDS, name=NAMES, ltv=AMOUNTS, seen=MOMENTS, team=st.sampled_from([None, "red"]))
BATCHES = st.lists(
    st.one_of(
        PEOPLE_ROWS,
        rows(ORDERS, number=IDS, person=st.none() | IDS, amount=AMOUNTS, item=NAMES),
        rows(TEAMS, name=st.sampled_from(["red", "blue"]), title=NAMES),
    ),
    min_size=1,
    max_size=8,
)
"""Of each batch its source, rows, kind, and whether its transaction ends after it."""


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RecordStore]:
    url = f"sqlite:///{tmp_path}/store.db"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_database")
    opened = open_store(data_source_id="main", url=url, namespace="headrace", workspace="w1", schema="shop")
    opened.prepare([MODEL])
    yield opened
    opened.close()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(batches=BATCHES, least_rows=st.sampled_from([1, 3, 1_000]))
def test_together_they_leave_what_each_row_alone_leaves(
    store: RecordStore, batches: Any, least_rows: int
) -> None:
    """`least_rows`: of a load that takes the key away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace.stores.loading.LEAST_ROWS", least_rows)
        empty(store)
        for source_id, changes, _, _ in batches:
            for row in changes:
                merge(store, [(source_id, [row], BatchKind.ROWS)])
        plain = kept(store)
        empty(store)
        together: list[Any] = []
        for source_id, changes, kind, ends in batches:
            together.append((source_id, changes, kind))
            if ends:
                merge(store, together, ends_load=False)
                together = []
        merge(store, together)
        assert kept(store) == plain


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(PEOPLE_ROWS, min_size=1, max_size=3))
def test_what_is_applied_again_is_unchanged_and_writes_nothing(store: RecordStore, batches: Any) -> None:
    empty(store)
    for source_id, changes, kind, _ in batches:
        merge(store, [(source_id, changes, kind)])
    before = kept(store, with_moments=True)
    counts = merge(store, [(PEOPLE.id, changes, BatchKind.ROWS)])
    assert counts == MergeCounts(unchanged=len({row["id"] for row in changes}))
    assert kept(store, with_moments=True) == before


def merge(store: RecordStore, batches: Any, *, ends_load: bool = True) -> MergeCounts:
    """One transaction of these batches; what they touch is recomputed once."""
    counts = MergeCounts()
    with store.merging(MODEL) as transaction:
        assert transaction is not None
        for source_id, changes, kind in batches:
            source = MODEL.source(source_id)
            counts += transaction.apply_rows(scope(source), batch(source, changes), kind=kind)
        if ends_load:
            transaction.end_load()
        transaction.recompute()
    return counts


def empty(store: RecordStore) -> None:
    with store.merging(MODEL) as transaction:
        assert isinstance(transaction, SqlMerge)
        transaction.end_load()
        transaction.recompute()
        frame = transaction._frame
        for table in (frame.records, *map(frame.staged, frame.secondary)):
            frame.run(f"DELETE FROM {table}")


def kept(store: RecordStore, *, with_moments: bool = False) -> list[list[Any]]:
    """The rows of the records and of each secondary source, as the store keeps them."""
    moments = () if with_moments else ("_created_at", "_updated_at")
    with store.merging(MODEL) as transaction:
        assert isinstance(transaction, SqlMerge)
        frame = transaction._frame
        records = store.records(MODEL, customer=ACME, key=None, limit=1000).to_pylist()
        staged = [
            sorted(map(repr, frame.session.all(f"SELECT * FROM {frame.staged(source)}")))
            for source in frame.secondary
        ]
    told = [{name: value for name, value in record.items() if name not in moments} for record in records]
    return [sorted(map(repr, told)), *staged]
