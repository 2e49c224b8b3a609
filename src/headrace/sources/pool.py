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
        url_of: the URL of an app as it is defined now, secrets unresolved; a reader of another URL is
            not lent any more.
        connect: opens a reader of an app.
        per_app: readers lent at once of one app, at most: the cap on connections to it.
    """

    def __init__(
        self,
        url_of: Callable[[AppId], str],
        connect: Callable[[AppId, str], SourceReader],
        *,
        per_app: int,
    ) -> None:
        self._url_of = url_of
        self._connect = connect
        self._idle: dict[tuple[AppId, str], list[SourceReader]] = defaultdict(list)
        self._slots: dict[AppId, threading.BoundedSemaphore] = defaultdict(
            lambda: threading.BoundedSemaphore(per_app)
        )
        self._lock = threading.Lock()

    @contextmanager
    def lend(self, app_id: AppId) -> Iterator[SourceReader]:
        key = (app_id, self._url_of(app_id))
        with self._lock:
            slot = self._slots[app_id]
        with slot:
            with self._lock:
                reader = self._idle[key].pop() if self._idle[key] else None
            if reader is None:
                reader = self._connect(*key)
            healthy = False
            try:
                yield reader
                healthy = True
            finally:
                if healthy:
                    with self._lock:
                        self._idle[key].append(reader)
                else:
                    reader.close()

    def close(self) -> None:
        """Every idle reader is closed; those lent are closed by whoever has them."""
        with self._lock:
            idle = [reader for readers in self._idle.values() for reader in readers]
            self._idle.clear()
        for reader in idle:
            reader.close()
