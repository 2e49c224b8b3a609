"""The stores of one process, opened when first asked for, and closed when others are needed more."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol, cast

from headrace.domain.vocabulary import DataSourceId
from headrace.errors import InvariantError
from headrace.ports import RecordStore
from headrace.ports.records import RecordReader

Body = Mapping[str, Any]
"""A data source's definition as it was written, secrets unresolved."""

MAX_OPEN: Final = 50


class _Closable(Protocol):
    @property
    def in_use(self) -> int: ...

    def close(self) -> None: ...


class OpenStore(RecordStore, _Closable, Protocol):
    """`in_use`: transactions that run now. After `close` none of its connections is kept: those in use are
    closed as they end, so that whoever still has the store may end its work."""


class OpenReader(RecordReader, _Closable, Protocol):
    """Likewise."""


class _Role(Enum):
    OWNER = "owner"
    READER = "reader"


@dataclass(slots=True)
class _Entry:
    store: _Closable
    body: Body


class StorePool:
    """Implements `ports.Stores` and `ports.records.RecordReaders`. Safe between threads.

    At most `most` are open, owners' and readers' together. For one more, the one that was used longest ago
    and is not in use is closed; should all be in use, they are more for as long.

    Args:
        body_of: the definition of a data source as it is now; a store of another one is not given out
            any more.
        connect: opens the store of a data source.
        connect_reader: opens what reads its records.
    """

    def __init__(
        self,
        body_of: Callable[[DataSourceId], Body],
        connect: Callable[[DataSourceId, Body], OpenStore],
        connect_reader: Callable[[DataSourceId, Body], OpenReader] | None = None,
        *,
        most: int = MAX_OPEN,
    ) -> None:
        self._body_of = body_of
        self._connect = connect
        self._connect_reader = connect_reader
        self._most = most
        self._open: OrderedDict[tuple[DataSourceId, _Role], _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, data_source_id: DataSourceId) -> RecordStore:
        return cast("RecordStore", self._opened(data_source_id, _Role.OWNER, self._connect))

    def reader(self, data_source_id: DataSourceId) -> RecordReader:
        if self._connect_reader is None:
            raise InvariantError("this pool has no readers")
        return cast("RecordReader", self._opened(data_source_id, _Role.READER, self._connect_reader))

    def _opened(
        self, data_source_id: DataSourceId, role: _Role, connect: Callable[[DataSourceId, Body], _Closable]
    ) -> _Closable:
        body = self._body_of(data_source_id)
        key = (data_source_id, role)
        with self._lock:
            known = self._open.get(key)
            if known is not None and known.body == body:
                self._open.move_to_end(key)
                return known.store
            made = connect(data_source_id, body)
            self._open[key] = _Entry(made, body)
            self._open.move_to_end(key)
            retired = [*((known.store,) if known is not None else ()), *self._take_out()]
        for store in retired:
            store.close()
        return made

    def _take_out(self) -> list[_Closable]:
        """Those that are to be closed, the newest one never being among them."""
        surplus = len(self._open) - self._most
        if surplus <= 0:
            return []
        idle = [key for key, entry in list(self._open.items())[:-1] if not entry.store.in_use]
        return [self._open.pop(key).store for key in idle[:surplus]]

    def close(self) -> None:
        """Every store is closed; those in use when their work ends."""
        with self._lock:
            stores = [entry.store for entry in self._open.values()]
            self._open.clear()
        for store in stores:
            store.close()
