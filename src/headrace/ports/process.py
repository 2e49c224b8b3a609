"""What a process brings: nudges and time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from headrace.domain.vocabulary import DataSourceId, FeedId, ModelId


class Nudge(Protocol):
    """Says that there is work; may be lost, doubled or reordered without harm."""

    def poll(self, feed_id: FeedId) -> None: ...

    def merge(self, data_source_id: DataSourceId, model: ModelId) -> None: ...

    def reconcile(self, feed_id: FeedId, *, full: bool) -> None: ...


class MergeSoon(Protocol):
    """Merges what was journalled just now without a message, in the process that journalled it."""

    def __call__(self, data_source_id: DataSourceId, model: ModelId) -> bool:
        """True: it will be tried at once, beside the caller, and nudged if it cannot be done. False: the
        caller nudges."""
        ...


def merges_nothing(data_source_id: DataSourceId, model: ModelId) -> bool:  # noqa: ARG001
    """Implements `MergeSoon` where merges are nudged."""
    return False


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds."""
        ...
