"""The pool of stores: bounded, never under somebody's work, and gone when its definition is another."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.vocabulary import DataSourceId
from headrace.stores.connect import open_record_reader, open_store
from headrace.stores.pool import StorePool
from headrace.stores.record_query import SqlRecordReader
from headrace.stores.record_store import SqlRecordStore
from tests.conformance.store_rows import batch, model, primary, scope

USERS = primary({"id": "integer", "name": "string"})
MODEL = model(USERS)
MOST = 50


class Stores:
    """Copies of one SQLite data source, opened through a pool."""

    def __init__(self, directory: Path, *, most: int = MOST) -> None:
        self.directory = directory
        self.bodies: dict[str, dict[str, Any]] = {}
        self.pool = StorePool(lambda id_: self.bodies[id_], self._store, self._reader, most=most)
        self._template = directory / "template.db"
        store = self._opened(self._template)
        store.prepare([MODEL])
        with store.merging(MODEL) as merge:
            assert merge is not None
            merge.apply_rows(scope(USERS), batch(USERS, [{"id": 1, "name": "x"}]))
        store.close()

    def add(self, number: int) -> DataSourceId:
        path = self.directory / f"store{number}.db"
        shutil.copy(self._template, path)
        self.bodies[str(number)] = {"path": path}
        return DataSourceId(str(number))

    def _opened(self, path: Path) -> SqlRecordStore:
        return open_store(
            data_source_id="one", url=f"sqlite:///{path}", namespace="", workspace="w", schema="s"
        )

    def _store(self, data_source_id: DataSourceId, body: Mapping[str, Any]) -> SqlRecordStore:
        return self._opened(body["path"])

    def _reader(self, data_source_id: DataSourceId, body: Mapping[str, Any]) -> SqlRecordReader:
        return open_record_reader(
            data_source_id="one",
            url=f"sqlite:///{body['path']}",
            read_url=None,
            namespace="",
            workspace="w",
            schema="s",
        )

    def open_files(self) -> set[str]:
        """The data sources to which this process has a connection."""
        found = set()
        for link in Path("/proc/self/fd").iterdir():
            try:
                target = str(link.readlink())
            except OSError:
                continue  # the directory's own, closed meanwhile
            if target.startswith(str(self.directory)):
                found.add(target.removesuffix("-wal").removesuffix("-shm"))
        return found


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = Stores(tmp_path)
    yield made
    made.pool.close()


def read(stores: Stores, data_source_id: DataSourceId) -> str | None:
    reader = stores.pool.reader(data_source_id)
    return reader.one(MODEL, ("1",), ["name"], customer="acme", routed_at=1)


def test_a_thousand_data_sources_work_with_fifty_open(stores: Stores) -> None:
    ids = [stores.add(n) for n in range(1_000)]
    most_files = 0
    with ThreadPoolExecutor(4) as threads:
        for start in range(0, len(ids), 100):
            assert set(threads.map(lambda i: read(stores, i), ids[start : start + 100])) == {'{"name":"x"}'}
            most_files = max(most_files, len(stores.open_files()))
            assert len(stores.pool) <= MOST
    assert 0 < most_files <= MOST
    assert read(stores, ids[0]) == '{"name":"x"}'


def test_the_one_used_longest_ago_is_closed_and_opened_again_when_asked_for(tmp_path: Path) -> None:
    stores = Stores(tmp_path, most=2)
    one, two, three = (stores.add(n) for n in range(3))
    read(stores, one)
    read(stores, two)
    read(stores, one)
    read(stores, three)
    assert stores.open_files() == {str(tmp_path / "store0.db"), str(tmp_path / "store2.db")}
    assert read(stores, two) == '{"name":"x"}'
    stores.pool.close()
    assert stores.open_files() == set()


def test_one_in_use_is_not_closed(tmp_path: Path) -> None:
    stores = Stores(tmp_path, most=1)
    one, two = stores.add(1), stores.add(2)
    store = stores.pool.open(one)
    with store.merging(MODEL) as merge:
        assert merge is not None
        read(stores, two)
        assert len(stores.pool) == 2
        assert stores.pool.open(one) is store
        merge.apply_rows(scope(USERS), batch(USERS, [{"id": 2, "name": "y"}]))
    assert store.count(MODEL) == 2
    read(stores, two)
    stores.pool.reader(stores.add(3))
    assert len(stores.pool) == 1
    stores.pool.close()


def test_whoever_still_has_a_closed_store_ends_its_work_and_leaves_nothing_open(stores: Stores) -> None:
    one = stores.add(1)
    store = stores.pool.open(one)
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with store.merging(MODEL) as merge:
            assert merge is not None
            inside.set()
            assert leave.wait(10)
            merge.apply_rows(scope(USERS), batch(USERS, [{"id": 2, "name": "y"}]))

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    stores.bodies[one] = {"path": stores.bodies[stores.add(2)]["path"]}
    other = stores.pool.open(one)
    assert other is not store
    assert stores.open_files() == {str(stores.directory / "store1.db")}
    leave.set()
    thread.join()
    assert stores.open_files() == set()
    assert store.count(MODEL) == 2
    assert stores.open_files() == set()


def test_a_reader_of_another_definition_is_another_one(stores: Stores) -> None:
    one = stores.add(1)
    first = stores.pool.reader(one)
    assert stores.pool.reader(one) is first
    stores.bodies[one] = {"path": stores.bodies[stores.add(2)]["path"]}
    assert stores.pool.reader(one) is not first
