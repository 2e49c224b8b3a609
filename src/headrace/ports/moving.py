"""Moves of customers between data sources, as the step that ends them sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.domain.vocabulary import DataSourceId, FeedId, ModelId


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveUnderWay:
    """A move whose binding has not flipped yet.

    Attributes:
        customers: who moves (`provided_id`).
        read: every feed has read its rows, and they are merged into the new data source.
        dated: the records there have the creation times of the old one.
        unread: feeds that have not read their rows yet.
    """

    id: str
    schema: str
    customers: tuple[str, ...]
    source: DataSourceId
    target: DataSourceId
    read: bool
    dated: bool
    unread: tuple[FeedId, ...]


class Moves(Protocol):
    def under_way(self, *, into: DataSourceId | None = None) -> Sequence[MoveUnderWay]:
        """Those into a data source, or all, oldest first."""
        ...

    def ask_for(self, feed_ids: Sequence[FeedId]) -> None:
        """The feeds are polled once more, whatever their schedules say."""
        ...

    def note_dated(self, move_id: str) -> None: ...

    def flip(self, move_id: str) -> Sequence[tuple[DataSourceId, ModelId]]:
        """The customers' binding is the new one, and what they have in the old data source is journalled to
        be dropped, in one transaction; gives what is to be merged then. Nothing of it, and nothing given,
        while the new data source may be behind the old one, or when the move ended meanwhile."""
        ...
