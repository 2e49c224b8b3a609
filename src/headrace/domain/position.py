"""What a watermark may do: the lead, the saved position, and how a fence moves them.

Values are the source's own text, opaque here; only the source can order them, so every function that
compares takes `rank`, the order of the source's texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.domain.vocabulary import FeedClass

Rank = Callable[[str], Any]
"""Maps a cursor's text to something that compares as the source compares the values."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order (cursor, key) of a source's rows.

    With a key: all rows up to and including it are done, reading resumes strictly after it.
    Without: only rows with a smaller cursor are, reading resumes at the cursor, inclusive.
    """

    cursor: str
    key: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """What a source said right before a snapshot.

    Attributes:
        now: the source's clock as a value of the cursor column: a poll reads up to it. None where
            the cursor is not a time: then all rows are read.
        bound: the highest cursor value below which no transaction still in flight can commit, less
            margin and the column's quantum. None: nothing is known, every tie at the lead is read
            again at the next poll.
        feed_class: what the source can promise with this fence.
        state: the reader's own memory for the next poll's fence, JSON text.
        reason: why the class is not exact, in words for a person; empty when it is.
        running: names of the transactions that may still commit below `now`, prepared ones too; None: they
            cannot be told apart.
        fresh: transactions that begin later set cursors above this one; None: that cannot be told.
        at: the source's clock.
        note: how transactions are seen, for a person, where it is not the plain way.
        resume: the source's clock was set back since the last fence: rows may have come with cursors from
            here on, so reading resumes here at the latest. None: it was not.
    """

    now: str | None
    bound: str | None
    feed_class: FeedClass
    state: str = "{}"
    reason: str = ""
    running: frozenset[str] | None = None
    fresh: str | None = None
    at: datetime | None = None
    note: str = ""
    resume: str | None = None


def saved_position(*, lead: Position, fence: Fence, rank: Rank) -> Position:
    """The position from which reading may resume when everything up to `lead` is journalled.

    min(fence, lead): with cursors that are business dates the fence is far past the lead, and saving
    the fence would skip every later row that is dated before today.

    Invariant: no row that can still commit has a cursor below the saved one
    (tests/properties/test_position.py).
    """
    if fence.bound is None:
        return Position(lead.cursor, None)
    if rank(lead.cursor) < rank(fence.bound):
        return lead
    return Position(fence.bound, None)


def lowered(saved: Position | None, fence: Fence, rank: Rank) -> Position | None:
    """The saved position, no higher than where rows may have come since the clock was set back."""
    if saved is None or fence.resume is None or rank(saved.cursor) < rank(fence.resume):
        return saved
    return Position(fence.resume, None)


def is_stranded(saved: Position | None, fence: Fence, rank: Rank) -> bool:
    """The saved position is past the source's clock, where no row that changes now will come.

    It was saved when the cursor held something else than times, up to which all was read: a text that is
    the greatest of all, or a far date beside a text that was the least.
    """
    return saved is not None and fence.now is not None and rank(saved.cursor) > rank(fence.now)


NO_CURSOR = FeedClass.EVENTUAL, "it has no cursor: each poll reads it whole"
"""What a feed without a cursor can promise, and why it is not more."""


def promised_class(clock: str, fence: Fence) -> tuple[FeedClass, str]:
    """What a feed can promise, and why it is not more (empty when it is exact).

    Args:
        clock: what the definition promises of the cursor: `database`, `skew:<duration>`, `business` or
            `undeclared`. A declared skew is in the fence's bound. Of a business date or an undeclared clock
            the fence says nothing, however good it is.
    """
    kind, _, skew = clock.partition(":")
    match kind:
        case "database":
            return fence.feed_class, fence.reason
        case "skew" if fence.feed_class is FeedClass.EVENTUAL:
            return fence.feed_class, fence.reason
        case "skew":
            reason = f"complete while the clock that sets the cursor is within {skew} of the database's"
            return FeedClass.BOUNDED, "; ".join(filter(None, (reason, fence.reason)))
        case "business":
            return FeedClass.EVENTUAL, "the cursor is a date of the business: reconciliation finds the rest"
    return FeedClass.EVENTUAL, "no clock is declared for the cursor: reconciliation finds what it misses"
