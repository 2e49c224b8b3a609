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
        run_batches: batches that one transaction takes at most: full ones take some 30 MB each until
            they are loaded.
        run_bytes: payload bytes (compressed) that one transaction takes at most.
        load_batches: as `run_batches`, of a first load, which has no more of them at a time than that.
    """

    journal: Journal
    stores: Stores
    nudge: Nudge
    clock: Clock
    random: random.Random
    run_batches: int = 2
    run_bytes: int = 16 * 1024 * 1024
    load_batches: int = 16

    def standing_of(self, feed_log: FeedLog, applied: Applied | None) -> Standing:
        return standing(feed_log, applied, lambda seq: self.journal.batch_at(feed_log, seq))
