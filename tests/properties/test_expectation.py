"""What verification expects is what the merge makes, on every dialect: neither knows the other's code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.shape import SourceShape
from headrace.domain.vocabulary import APP, DataSourceId
from headrace.ports import Difference, DifferenceKind, RecordStore
from headrace.stores.expectation import open_expectation
from tests.conformance.store_rows import batch, scope
from tests.properties.store_oracle import Row
from tests.properties.test_record_store_oracle import MODEL, TRANSACTIONS, empty, store

__all__ = ["store"]

MAIN = DataSourceId("main")
EVERY: frozenset[DifferenceKind] = frozenset({"missing", "ghost", "differs"})
PROPERTIES = frozenset(c.name for c in MODEL.columns)


class Given:
    """The rows of each source as its database would give them now."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[tuple[Any, ...], Row]] = {s.id: {} for s in MODEL.sources}

    def apply(self, source: SourceShape, rows: Sequence[Row]) -> None:
        for row in rows:
            self.rows[source.id][tuple(row[c.name] for c in source.key)] = row

    def table(self, source: SourceShape) -> pa.Table:
        return batch(source, self.rows[source.id].values())


def compared(given: Given, store: RecordStore, properties: frozenset[str] = PROPERTIES) -> list[Difference]:
    with open_expectation(MODEL, properties) as expectation:
        for source in MODEL.sources:
            expectation.add(source, MAIN, "app", given.table(source))
            if not source.primary:
                expectation.settle(source)
        after = None
        while (page := store.record_page(MODEL, after=after, limit=3)).num_rows:
            expectation.add_stored(MAIN, page)
            last = page.slice(page.num_rows - 1).to_pylist()[0]
            after = (last["_customer_id"], (str(last["id"]),))
        noted = expectation.compare(EVERY)
        found = expectation.differences()
        assert noted >= len(found)
        return list(found)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(transactions=TRANSACTIONS, damaged=st.sampled_from(["name", "title", "labels", "rows"]))
def test_what_the_sources_give_is_what_stores_have_and_damage_is_found(
    store: RecordStore, transactions: Any, damaged: str
) -> None:
    empty(store)
    given_rows = Given()
    for changes in transactions:
        with store.merging(MODEL) as transaction:
            assert transaction is not None
            for source_id, rows in changes:
                source = MODEL.source(source_id)
                transaction.apply_rows(scope(source, None), batch(source, rows))
                given_rows.apply(source, rows)
            transaction.recompute()
    assert compared(given_rows, store) == []

    wanted = {"name": "'damaged'", "title": "'damaged'", "labels": """'["damaged"]'""", "rows": "99"}[damaged]
    with store.merging(MODEL) as transaction:
        transaction._frame.run(  # type: ignore[union-attr]
            f'UPDATE {transaction._frame.records} SET "{damaged}" = {wanted}'  # type: ignore[union-attr]
        )
    found = compared(given_rows, store)
    assert len(found) == store.count(MODEL)
    assert all(d.kind == "differs" and damaged in d.found for d in found)


def test_pages_of_staged_rows_tile_the_table(store: RecordStore) -> None:
    """Keys of several columns, a decimal first, which SQLite keeps as text."""
    empty(store)
    things = MODEL.source("things")
    wanted = [{"a": a, "b": b, "person": 1} for a in ("-1.5", "9", "10", "100") for b in ("", "B", "a")]
    with store.merging(MODEL) as transaction:
        assert transaction is not None
        transaction.apply_rows(scope(things, "ann"), batch(things, wanted, "ann"))
    found: list[tuple[str, str]] = []
    after = None
    while (page := store.staged_page(things, after=after, limit=5)).num_rows:
        assert APP not in page.column_names
        found += [(row["a"], row["b"]) for row in page.select(["a", "b"]).to_pylist()]
        after = found[-1]
    assert found == [(row["a"], row["b"]) for row in wanted]
