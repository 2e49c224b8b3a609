"""Where a store stands in a log, and how a restored backup shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace.domain.vocabulary import BatchId
from headrace.ports import Applied, FeedLog


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the store stands in a log: the seq to go on from, or why the log must begin anew."""

    applied_seq: int
    restored: str | None = None


def standing(
    feed_log: FeedLog, applied: Applied | None, batch_at: Callable[[int], BatchId | None]
) -> Standing:
    """Compare the store's mark with control's, to notice that one was restored from a backup.

    Args:
        batch_at: the id of the journalled batch with a seq of this log, None when there is none.
    """
    if applied is None or applied.log_id != feed_log.log_id:
        if feed_log.merged_seq == 0:
            return Standing(0)
        return Standing(0, "the store does not have the log that control has merged")
    if applied.seq < feed_log.merged_seq:
        return Standing(0, "the store is behind what control marked merged")
    if applied.seq > feed_log.seq:
        return Standing(0, "the store is ahead of the journal")
    if batch_at(applied.seq) != applied.batch_id:
        return Standing(0, "the store applied another batch under this number")
    return Standing(applied.seq)
