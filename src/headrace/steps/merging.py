"""What merges of every log work with."""

from __future__ import annotations

import random
from dataclasses import dataclass

from headrace.ports import Applied, Clock, FeedLog, Journal, Nudge, Stores
from headrace.steps.standing import Standing, standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """
    Attributes:
        run_batches: batches that are loaded at once, at most: full ones take some 30 MB each until they are.
        run_bytes: payload bytes (compressed) that are loaded at once, at most.
        together: batches that one transaction takes at most, one load after the other.
    """

    journal: Journal
    stores: Stores
    nudge: Nudge
    clock: Clock
    random: random.Random
    run_batches: int = 2
    run_bytes: int = 16 * 1024 * 1024
    together: int = 16

    def standing_of(self, feed_log: FeedLog, applied: Applied | None) -> Standing:
        return standing(feed_log, applied, lambda seq: self.journal.batch_at(feed_log, seq))
