"""Readers of all apps in one process: each lent to one thread at a time, and kept for the next."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from headrace.domain.vocabulary import AppId
from headrace.ports import SourceReader


class ReaderPool:
    """Implements `ports.Readers`.

    Args:
        connect: opens a reader of an app.
        per_app: readers lent at once of one app, at most: the cap on connections to it.
    """

    def __init__(self, connect: Callable[[AppId], SourceReader], *, per_app: int) -> None:
        self._connect = connect
        self._idle: dict[AppId, list[SourceReader]] = defaultdict(list)
        self._slots: dict[AppId, threading.BoundedSemaphore] = defaultdict(
            lambda: threading.BoundedSemaphore(per_app)
        )
        self._lock = threading.Lock()

    @contextmanager
    def lend(self, app_id: AppId) -> Iterator[SourceReader]:
        with self._lock:
            slot = self._slots[app_id]
        with slot:
            with self._lock:
                idle = self._idle[app_id]
                reader = idle.pop() if idle else None
            if reader is None:
                reader = self._connect(app_id)
            healthy = False
            try:
                yield reader
                healthy = True
            finally:
                if healthy:
                    with self._lock:
                        self._idle[app_id].append(reader)
                else:
                    reader.close()

    def close(self) -> None:
        """Every idle reader is closed; those lent are closed by whoever has them."""
        with self._lock:
            idle = [reader for readers in self._idle.values() for reader in readers]
            self._idle.clear()
        for reader in idle:
            reader.close()
