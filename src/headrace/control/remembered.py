"""What was looked up a moment ago, so that it need not be asked again at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

FOR_S: Final = 1.0
"""How old an answer about somebody's rights may be: what another process takes away ends within this time."""
MOST: Final = 10_000


class Remembered(Generic[K, V]):
    """Answers that are at most `for_s` old. Thread-safe; what is not there is asked each time.

    Invariant: an answer that was looked up before `forget` is not given after it, also when the look-up ends
    later (tests/unit/test_remembered.py).
    """

    def __init__(
        self,
        *,
        for_s: float = FOR_S,
        most: int = MOST,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._for_s = for_s
        self._most = most
        self._monotonic = monotonic
        self._kept: dict[K, tuple[float, V]] = {}
        self._generation = 0
        self._lock = threading.Lock()

    def known(self, key: K) -> V | None:
        """The answer, if it is still young enough; looks nothing up."""
        kept = self._kept.get(key)
        return kept[1] if kept is not None and self._monotonic() < kept[0] else None

    def get(self, key: K, look_up: Callable[[], V | None]) -> V | None:
        """The answer, looked up if need be."""
        if (known := self.known(key)) is not None:
            return known
        generation, asked_at = self._generation, self._monotonic()
        found = look_up()
        if found is not None:
            with self._lock:
                if generation == self._generation:
                    self._keep(key, found, asked_at + self._for_s)
        return found

    def forget(self) -> None:
        """Everything is looked up again."""
        with self._lock:
            self._generation += 1
            self._kept = {}

    def _keep(self, key: K, value: V, until: float) -> None:
        if len(self._kept) >= self._most and key not in self._kept:
            now = self._monotonic()
            young = {k: kept for k, kept in self._kept.items() if now < kept[0]}
            self._kept = young if len(young) < self._most else {}
        self._kept[key] = (until, value)
