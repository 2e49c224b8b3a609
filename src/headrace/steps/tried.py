"""What one transaction of a merge did."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headrace.domain.vocabulary import BatchId
from headrace.ports import FeedLog, MergeCounts, RejectedRow
from headrace.steps.merge_report import MergeReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What a transaction did, to be told to control once it is committed.

    Attributes:
        merged: batches that are in the store now.
        missing: keys that the feed shall fetch were asked for.
        rejected: rows of them that are left out.
        superseded: open rejected rows of which they hold later versions.
        restored: why the log must begin anew, None when it goes on.
    """

    report: MergeReport
    merged: tuple[BatchId, ...] = ()
    missing: bool = False
    rejected: tuple[RejectedRow, ...] = ()
    superseded: tuple[int, ...] = ()
    restored: tuple[FeedLog, str] | None = None

    @property
    def did_something(self) -> bool:
        return bool(self.merged or self.report.rows)

    def and_updated(self, counts: MergeCounts) -> Tried:
        return replace(self, report=replace(self.report, counts=self.report.counts + counts))

    def followed_by(self, more: Tried, *, between: BatchId) -> Tried:
        """Both in one transaction. `between` is the last batch of this; that of a load waited for more."""
        waited = () if between in self.merged else (between,)
        both = self.report.then(more.report)
        return Tried(
            report=replace(both, batches=both.batches + len(waited)),
            merged=(*self.merged, *waited, *more.merged),
            missing=self.missing or more.missing,
            rejected=(*self.rejected, *more.rejected),
            superseded=(*self.superseded, *more.superseded),
        )
