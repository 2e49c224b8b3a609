"""The last look at a database's transactions, for all readers of an app in this process.

A fence that is a second old is still a valid bound: whoever ran at the look holds it, and whoever has begun
since did so after it. It must only be older than the snapshot that it is to bound, and no older than what the
feed has seen already.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # it needs a driver, and this is imported whatever is read
    from headrace.sources.postgres_fence import Looked

SHARED_FOR_S: Final = 1.0


@dataclass(slots=True)
class SharedLook:
    """Thread-safe."""

    _looked: Looked | None = None

    def recent(self, *, now_s: float, since_s: float) -> Looked | None:
        """The last look, if it is recent.

        Args:
            since_s: when the asking reader connected. A look from before may be of another server behind the
                same address.
        """
        looked = self._looked
        if looked is None or looked.clock.asked_s < max(since_s, now_s - SHARED_FOR_S):
            return None
        return looked

    def put(self, looked: Looked) -> None:
        if looked.can_be_shared:
            self._looked = looked


@dataclass(slots=True)
class SharedLooks:
    """One for each database, by its URL."""

    _by_url: dict[str, SharedLook] = field(default_factory=lambda: defaultdict(SharedLook))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, url: str) -> SharedLook:
        with self._lock:
            return self._by_url[url]
