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


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds."""
        ...
