"""Requests from outside that a source be read now, and where they are kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace.domain.vocabulary import AppId, FeedId, SourceId

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request that can be met.

    Attributes:
        by: who asks, for people: `message`, `listen:<app>`, `webhook`, `token:<id>` or `cli:<user>`.
        app, customer: as they were asked for.
        feeds: what is read: the source through each of these apps.
        keys: exactly these (texts in the order of the source's `key`); None: all that has changed.
    """

    by: str
    source: SourceId
    app: str | None = None
    customer: str | None = None
    feeds: tuple[tuple[SourceId, AppId], ...]
    keys: tuple[Key, ...] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmet:
    """A request that cannot be met, as far as it could be read, with the code and the reason."""

    by: str
    source: str = ""
    app: str | None = None
    customer: str | None = None
    code: str
    reason: str


class Triggers(Protocol):
    """What was asked for, until it is done; and who asked, for as long as the retention says."""

    def record(self, asks: Sequence[Ask], unmet: Sequence[Unmet] = ()) -> Sequence[FeedId]:
        """In one transaction: each feed is polled once more, by a poll that begins after this, and fetches
        the keys that were asked of it; a line tells of each request, of equal ones within a minute one line.
        Gives the feeds, each once: the caller nudges them. A paused feed does it when it is resumed.
        """
        ...

    def paused_reason(self, feeds: Collection[tuple[SourceId, AppId]]) -> str | None:
        """Why none of these feeds is polled until somebody resumes it; None: one of them is polled."""
        ...
