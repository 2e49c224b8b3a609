"""The stores of one process, one for each data source, opened when first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from headrace.domain.vocabulary import DataSourceId
from headrace.ports import RecordStore

Body = Mapping[str, Any]
"""A data source's definition as it was written, secrets unresolved."""


class StorePool:
    """Implements `ports.Stores`.

    Args:
        body_of: the definition of a data source as it is now; a store of another one is not given out
            any more.
        connect: opens the store of a data source.
    """

    def __init__(
        self,
        body_of: Callable[[DataSourceId], Body],
        connect: Callable[[DataSourceId, Body], RecordStore],
    ) -> None:
        self._body_of = body_of
        self._connect = connect
        self._open: dict[DataSourceId, tuple[Body, RecordStore]] = {}
        self._retired: list[RecordStore] = []
        self._lock = threading.Lock()

    def open(self, data_source_id: DataSourceId) -> RecordStore:
        body = self._body_of(data_source_id)
        with self._lock:
            known = self._open.get(data_source_id)
            if known is not None and known[0] == body:
                return known[1]
            if known is not None:
                self._retired.append(known[1])  # another thread may be in it
            store = self._connect(data_source_id, body)
            self._open[data_source_id] = (body, store)
            return store

    def close(self) -> None:
        """Every store is closed."""
        with self._lock:
            stores = [*self._retired, *(store for _, store in self._open.values())]
            self._open.clear()
            self._retired.clear()
        for store in stores:
            store.close()
