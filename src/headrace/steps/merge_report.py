"""What a merge did, and what is in its way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from headrace.domain.vocabulary import SourceId
from headrace.ports import MergeCounts


class MergeState(StrEnum):
    DRAINED = "drained"
    """Nothing waits that could be applied now."""
    LOCKED = "locked"
    """Another worker holds the lock; it looks once more after it lets go."""
    BLOCKED = "blocked"
    """A batch is in backoff, or waits for `apply`; the sweeper nudges again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeReport:
    """What one visit did: records written, batches applied, rows that a breaker holds back.

    Attributes:
        blocked: the sources whose logs wait; empty with state `blocked` when the whole store does.
        errors: what is, or was meanwhile, in the way, in words for a person.
        rejected: rows that the data source refused, and that are set aside.
        unfinished: a batch is being taken apart, or a load goes on: another visit looks further.
    """

    state: MergeState
    counts: MergeCounts = field(default_factory=MergeCounts)
    batches: int = 0
    rows: int = 0
    held: int = 0
    blocked: tuple[SourceId, ...] = ()
    errors: tuple[str, ...] = ()
    rejected: int = 0
    unfinished: bool = False

    def then(self, later: MergeReport) -> MergeReport:
        """Both visits as one, in the state that the later one left."""
        return replace(
            later,
            counts=self.counts + later.counts,
            batches=self.batches + later.batches,
            rows=self.rows + later.rows,
            held=max(self.held, later.held),
            rejected=self.rejected + later.rejected,
            errors=tuple(dict.fromkeys(self.errors + later.errors)),
        )

    def beside(self, other: MergeReport) -> MergeReport:
        """Runs of two logs as one visit, in the worse state of both."""
        worst = max(self.state, other.state, key=list(MergeState).index)
        return replace(
            self.then(other),
            state=worst,
            blocked=self.blocked + other.blocked,
            unfinished=self.unfinished or other.unfinished,
        )


UNFINISHED = MergeReport(state=MergeState.DRAINED, unfinished=True)
"""A batch is being taken apart; nothing was done yet."""


def blocked(source: SourceId, reason: str) -> MergeReport:
    """The log of this source waits; nothing was done."""
    return MergeReport(state=MergeState.BLOCKED, blocked=(source,), errors=(f"source {source}: {reason}",))
