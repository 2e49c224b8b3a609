"""However a first load is cut and wherever it ends, the tables are those of the common way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.vocabulary import BatchKind
from headrace.ports import RecordStore
from tests.conformance.store_rows import batch, scope
from tests.properties.store_oracle import Oracle
from tests.properties.test_record_store_oracle import CHANGES, MODEL, differences, empty, found, store

__all__ = ["store"]

LOADS = st.lists(
    st.tuples(st.lists(CHANGES, min_size=1, max_size=3), st.sampled_from(["loads", "loads", "ends", "rows"])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(merges=LOADS, deletes=st.booleans())
def test_records_equal_the_oracle_after_every_load(store: RecordStore, merges: Any, deletes: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace.stores.loading.LEAST_ROWS", 1)
        _end(store)
        empty(store)
        oracle = Oracle(MODEL)
        for changes, then in merges:
            with store.merging(MODEL) as transaction:
                assert transaction is not None
                for source_id, given_rows in changes:
                    source = MODEL.source(source_id)
                    rows = [row if deletes else {**row, "_deleted": False} for row in given_rows]
                    kind = BatchKind.ROWS if then == "rows" else BatchKind.LOAD
                    transaction.apply_rows(scope(source, None), batch(source, rows), kind=kind)
                    oracle.apply(source, rows)
                if then == "ends":
                    transaction.end_load()
                transaction.recompute()
        _end(store)
        assert differences(found(store), oracle.records()) == []


def _end(store: RecordStore) -> None:
    with store.merging(MODEL) as transaction:
        assert transaction is not None
        transaction.end_load()
        transaction.recompute()
