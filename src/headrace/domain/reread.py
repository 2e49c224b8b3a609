"""When a poll reads the rows behind the fence again, (saved, lead], and when only those after the lead.

A transaction that runs for hours holds the fence, and all that was read since is provisional. Reading it
again at each poll would cost the square of that time; reading it again only when the fence moves would
hide the late commits of all other transactions. So it is read again when the fence has passed a
provisional row, when a transaction that was seen running since has ended, when one that began since may
have set a cursor no higher than the lead's (a tie, an hour that comes twice, a skew), and once a minute
while rows come; and never for more than a fixed share of the time. What is new is read at every poll.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from headrace.domain.position import Fence, Position, Rank

BURST: Final = timedelta(seconds=2)
"""Re-reads that take no longer in all are never put off."""
UNNOTED: Final = timedelta(milliseconds=10)
"""The time of a re-read that is not counted: what it costs is asking."""
RECHECK: Final = timedelta(seconds=60)
"""While rows come, those behind them are read again after this time at the latest: a transaction may
begin and end between two polls, and be seen by neither."""
MOST_REMEMBERED: Final = 256
"""With more transactions at a time, one has always ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reread:
    """What a feed remembers of its last re-read.

    Attributes:
        first: the cursor of the first provisional row; None: not known.
        ran: marks of the transactions that were seen running at the re-read or at a poll since; None: they
            cannot be told apart, or are too many.
        tied: a transaction that no poll saw may have set a cursor up to the lead's.
        at: when it ended; None: there was none.
        ahead: rows were read after the lead since.
        paid_at: when the time that re-reads have taken will be paid for, at their share of the time.
    """

    first: str | None = None
    ran: frozenset[str] | None = frozenset()
    tied: bool = True
    at: datetime | None = None
    ahead: bool = False
    paid_at: datetime | None = None

    def is_due(self, fence: Fence, *, now: datetime, rank: Rank) -> bool:
        """A row may have come behind the lead, or a provisional one is final by now."""
        running = marks(fence.running)
        if self.tied or fence.bound is None or self.first is None or self.ran is None or running is None:
            return True
        if rank(fence.bound) > rank(self.first) or not self.ran <= running:
            return True
        return self.ahead and (self.at is None or abs(now - self.at) >= RECHECK)

    def is_affordable(self, *, now: datetime, share: float) -> bool:
        """Re-reads have taken less than their share of the time, a burst aside."""
        if self.paid_at is None:
            return True
        owed = self.paid_at - now
        # A clock of ours that was set back must not put re-reads off for ever.
        return owed <= BURST / share or self.at is None or now < self.at

    def polled(self, fence: Fence, *, tied: bool, ahead: bool) -> Reread:
        """After a poll that read only what is new."""
        running = marks(fence.running)
        known = None if self.ran is None or running is None else self.ran | running
        if known is not None and len(known) > MOST_REMEMBERED:
            known = None
        return replace(self, ran=known, tied=self.tied or tied, ahead=self.ahead or ahead)

    def reread(
        self, fence: Fence, *, first: str | None, tied: bool, now: datetime, took: timedelta, share: float
    ) -> Reread:
        """After a poll that read everything from the saved position on.

        Args:
            took: the time that went into rows that were read before.
        """
        noted = replace(self, first=first, ran=marks(fence.running), tied=tied, at=now, ahead=False)
        if took < UNNOTED:
            return noted
        begun = now - took if self.paid_at is None or self.paid_at < now - took else self.paid_at
        return replace(noted, paid_at=begun + took / share)

    def as_json(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "ran": None if self.ran is None else " ".join(sorted(self.ran)),
            "tied": self.tied,
            "at": None if self.at is None else self.at.isoformat(),
            "ahead": self.ahead,
            "paid_at": None if self.paid_at is None else self.paid_at.isoformat(),
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Reread:
        return cls(
            first=kept["first"],
            ran=None if kept["ran"] is None else frozenset(kept["ran"].split()),
            tied=kept["tied"],
            at=None if kept["at"] is None else datetime.fromisoformat(kept["at"]),
            ahead=kept["ahead"],
            paid_at=None if kept["paid_at"] is None else datetime.fromisoformat(kept["paid_at"]),
        )


def resumes_at(
    saved: Position | None, lead: Position | None, *, due: bool, affordable: bool
) -> Position | None:
    """Where a poll resumes: at the saved position, or at the lead while what is provisional may wait."""
    nothing_provisional = saved is None or lead is None or lead.key is None or saved == lead
    return saved if nothing_provisional or (due and affordable) else lead


def is_tied(lead: Position | None, fence: Fence, rank: Rank) -> bool:
    """A transaction that begins after this fence may set a cursor up to the lead's."""
    return fence.fresh is None or (lead is not None and rank(lead.cursor) >= rank(fence.fresh))


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceMemory:
    """What a feed's state keeps between polls of its fence: the reader's part, opaque here, and ours."""

    reader: str | None = None
    reread: Reread = Reread()

    def as_text(self) -> str:
        return json.dumps({"reader": self.reader, "reread": self.reread.as_json()})

    @classmethod
    def from_text(cls, text: str | None) -> FenceMemory:
        """The memory that `as_text` wrote; an empty one for None."""
        if text is None:
            return cls()
        kept = json.loads(text)
        return cls(reader=kept["reader"], reread=Reread.from_json(kept["reread"]))


def marks(transactions: Collection[str] | None) -> frozenset[str] | None:
    """Short marks of transactions, for a state that stays small; None: they cannot be told, or are too
    many. Two of the same mark only put a re-read off."""
    if transactions is None or len(transactions) > MOST_REMEMBERED:
        return None
    return frozenset(hashlib.blake2b(t.encode(), digest_size=4).hexdigest() for t in transactions)
