"""Whatever is merged, a copy that is kept by events alone equals the records as the HTTP API tells them."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.record_event import ChangeKind
from headrace.domain.record_query import RecordQuery
from headrace.domain.vocabulary import BatchKind
from headrace.ports import RecordStore
from headrace.ports.records import RecordReader
from headrace.stores import open_store
from headrace.stores.connect import open_record_reader
from tests.conformance.store_rows import batch, scope
from tests.properties.test_record_store_oracle import CHANGES, MODEL, _database, empty

TRANSACTIONS = st.lists(
    st.tuples(st.lists(CHANGES, min_size=1, max_size=4), st.sampled_from([BatchKind.ROWS, BatchKind.LOAD])),
    min_size=1,
    max_size=5,
)
CUSTOMERS = ("ann", "bob")


@dataclass
class Kept:
    """A data source with an outbox, and a consumer's copy of its records."""

    store: RecordStore
    reader: RecordReader
    seq: int = 0
    copy: dict[tuple[str, str], Any] = field(default_factory=dict)

    def begin(self) -> None:
        """There is no record, and no event is left of what was before."""
        self.copy.clear()
        while events := self.store.outbox.events(MODEL.id, after=self.seq, limit=1000):
            self.seq = events[-1].seq

    def follow(self) -> None:
        """The events of one transaction reach the copy; each says what it does to it."""
        assert self.store.outbox is not None
        events = self.store.outbox.events(MODEL.id, after=self.seq, limit=1000)
        named = [(event.customer, event.key) for event in events]
        assert len(set(named)) == len(named)
        assert len({event.merge for event in events}) <= 1
        for event in events:
            name, record = (event.customer, event.key), event.record and json.loads(event.record)
            before = self.copy.get(name)
            match event.kind:
                case ChangeKind.CREATED:
                    assert (before, event.changed) == (None, ())
                case ChangeKind.UPDATED:
                    assert before is not None
                    differs = [k for k in record if record[k] != before[k] and k != "_updated_at"]
                    assert list(event.changed) == differs != []
                case ChangeKind.DELETED:
                    assert before is not None
                    assert (record, event.changed) == (None, ())
            self.copy[name] = record
            self.seq = event.seq
        self.copy = {name: record for name, record in self.copy.items() if record is not None}

    def records(self) -> dict[tuple[str, str], Any]:
        told = {}
        for customer in CUSTOMERS:
            page = self.reader.page(MODEL, RecordQuery(limit=1000), customer=customer, routed_at=0)
            for record in map(json.loads, page.items):
                told[customer, json.dumps({"id": record["id"]}, separators=(",", ":"))] = record
        return told


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/store.db"
        else:
            url = stack.enter_context(_database(request.getfixturevalue("postgres_server")))
        place = {"data_source_id": "main", "url": url, "namespace": "headrace", "workspace": "w1"}
        store = open_store(**place, schema="shop", events=True)
        stack.callback(store.close)
        store.prepare([MODEL])
        reader = open_record_reader(**place, schema="shop", read_url=None)
        stack.callback(reader.close)
        yield Kept(store, reader)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(transactions=TRANSACTIONS)
def test_a_copy_kept_by_events_alone_equals_the_records(kept: Kept, transactions: Any) -> None:
    empty(kept.store)
    kept.begin()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace.stores.loading.LEAST_ROWS", 1)
        for changes, kind in transactions:
            with kept.store.merging(MODEL) as transaction:
                assert transaction is not None
                for source_id, rows in changes:
                    source = MODEL.source(source_id)
                    transaction.apply_rows(scope(source, None), batch(source, rows), kind=kind)
                transaction.end_load()
                transaction.recompute()
            kept.follow()
            assert kept.copy == kept.records()
