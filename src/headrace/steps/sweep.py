"""Keep work going: due feeds are nudged, and what a broker, a worker or a backup lost is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace import logs, traces
from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.errors import DataSourceDriftedError, HeadraceError
from headrace.ports import Drift, Nudge, Retention, Schedule, Sweep
from headrace.steps.merge import MergeStep
from headrace.steps.move import MoveStep

log = logs.get(__name__)

DUE_FEEDS = 200
"""Feeds that one tick of a scheduler claims at most."""


LOOKED_AT = 100
"""Models of data sources that one sweep looks at, at most: a thousand take ten sweeps."""

Target = tuple[DataSourceId, ModelId]


@dataclass(slots=True)
class Turn:
    """Whose turn it is, where not all are looked at at once."""

    at: int = 0

    def next(self, targets: Sequence[Target], most: int) -> Sequence[Target]:
        """At most so many, after those of the time before; the first ones follow the last."""
        if len(targets) <= most:
            return targets
        begin = self.at % len(targets)
        self.at = begin + most
        return [*targets[begin : begin + most], *targets[: max(0, begin + most - len(targets))]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepStep:
    """What a scheduler does at each tick, and now and then.

    Attributes:
        targets: every (data source, model) of the applied definitions.
        nudge_lost_s: an unmerged batch that has waited so long, in seconds, has lost its nudge.
    """

    schedule: Schedule
    swept: Sweep
    drift: Drift
    merge: MergeStep
    targets: Callable[[], Sequence[tuple[DataSourceId, ModelId]]]
    nudge: Nudge
    move: MoveStep
    nudge_lost_s: float
    retention: Retention = field(default_factory=Retention)
    turn: Turn = field(default_factory=Turn)

    def tick(self) -> int:
        """Due feeds are claimed and nudged; gives how many."""
        due = self.schedule.claim_due(DUE_FEEDS)
        for feed_id in due:
            with traces.span("tick", feed=feed_id):
                self.nudge.poll(feed_id)
        return len(due)

    def sweep(self) -> int:
        """What was lost is nudged again, what has had its time is gone; gives the merges nudged."""
        for feed_id in self.swept.expired_leases():
            self.nudge.poll(feed_id)
        lost = self.swept.unmerged(older_than_s=self.nudge_lost_s)
        for target in lost:
            self.nudge.merge(*target)
        self.move.ask_feeds()
        self._look_at(self.turn.next(self.targets(), LOOKED_AT))
        self.swept.remove_old(self.retention)
        return len(lost)

    def recognise_restored(self) -> None:
        """Logs whose store or control was restored from a backup have begun anew; it is known which data
        sources drifted."""
        self._look_at(self.targets())

    def _look_at(self, targets: Sequence[Target]) -> None:
        known = self.drift.drifted()
        for target in targets:
            try:
                self.merge.recognise_restored(*target)
            except DataSourceDriftedError as error:
                if known.get(target) != error.lacking:
                    log.error("data source drifted", data_source=target[0], error=str(error))
                    self.drift.note(*target, error.lacking)
            except HeadraceError as error:
                log.warning("data source not compared", data_source=target[0], error=str(error))
            else:
                if target in known:
                    log.info("data source fits again", data_source=target[0], model=target[1])
                    self.drift.forget(*target)
