"""Merges by a fetch worker of the little that it has just journalled: a message and another worker's turn are
spared, which is most of the time until a changed row can be seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from headrace import logs
from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.errors import HeadraceError
from headrace.ports import MergeSoon, Nudge
from headrace.settings import Settings

log = logs.get(__name__)

STOP_WITHIN_S: Final = 5.0
"""Beside the time that polls have: a merge of little takes much less."""

Target = tuple[DataSourceId, ModelId]


class FreshlyMerged(Protocol):
    """The part of the application that this calls."""

    nudge: Nudge
    merge_soon: MergeSoon

    def merge_fresh(self, data_source_id: DataSourceId, model: ModelId) -> bool:
        """False: something waits still."""
        ...


class FreshMerges:
    """Implements `MergeSoon`, by threads beside those that poll, so few that data sources which do not answer
    keep no feed from being polled: when all of them wait, merges are nudged as ever.

    What cannot be merged so is nudged. What a process that dies was at is found by the sweeper, like a nudge
    that was lost.
    """

    def __init__(self, app: FreshlyMerged, *, most: int) -> None:
        """
        Args:
            most: merges that run at once.
        """
        self._app = app
        self._most = most
        self._running: set[Target] = set()
        self._changed = threading.Condition()
        self._closed = False

    def __call__(self, data_source_id: DataSourceId, model: ModelId) -> bool:
        target = data_source_id, model
        with self._changed:
            if self._closed or target in self._running or len(self._running) >= self._most:
                return False
            self._running.add(target)
        threading.Thread(target=self._run, args=(target,), name="fresh merge", daemon=True).start()
        return True

    def close(self, *, within_s: float) -> None:
        """Nothing more is taken; what ran has ended, or is nudged."""
        deadline = time.monotonic() + within_s
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._running, timeout=max(0.0, deadline - time.monotonic()))
            left = set(self._running)
        for target in left:
            self._app.nudge.merge(*target)

    def _run(self, target: Target) -> None:
        merged = False
        try:
            with logs.context(data_source=target[0], model=target[1]):
                merged = self._merged(target)
        finally:
            with self._changed:
                self._running.discard(target)
                self._changed.notify_all()
            if not merged:
                self._app.nudge.merge(*target)

    def _merged(self, target: Target) -> bool:
        try:
            return self._app.merge_fresh(*target)
        except HeadraceError as error:
            # Whoever merges by the nudge tells of it, if it is still so.
            log.info("a merge is left to others", kind=type(error).__name__, error=str(error))
        except Exception:
            log.exception("a merge met a bug")
        return False


@contextmanager
def merging_fresh(app: FreshlyMerged, settings: Settings) -> Iterator[None]:
    """While the context is open, the application merges the little that it journals."""
    fresh = FreshMerges(app, most=max(1, settings.threads // 2))
    app.merge_soon = fresh
    try:
        yield
    finally:
        fresh.close(within_s=min(STOP_WITHIN_S, settings.stop_within_s))
