"""The scheduler's side of the control database: what is due, and what was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.domain.vocabulary import DataSourceId, FeedId, ModelId


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long, in seconds, what is done with is kept."""

    merged_batches_s: float = 24 * 3600.0
    runs_s: float = 30 * 86400.0
    triggers_s: float = 30 * 86400.0
    closed_rejected_s: float = 30 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Rows that one sweep removed."""

    batches: int
    runs: int
    triggers: int
    rejected: int


class Schedule(Protocol):
    """Any number of schedulers may share one."""

    def claim_due(self, limit: int) -> Sequence[FeedId]:
        """Mark at most `limit` due feeds as sent, the longest due first, and return them: the caller nudges
        each. Until one is claimed, or its nudge is taken for lost, it is returned to nobody."""
        ...


class Drift(Protocol):
    """Which models' tables lack a part in which data source, as it was found last: for people to see."""

    def drifted(self) -> Mapping[tuple[DataSourceId, ModelId], tuple[str, ...]]: ...

    def note(self, data_source_id: DataSourceId, model_id: ModelId, lacking: Sequence[str]) -> None: ...

    def forget(self, data_source_id: DataSourceId, model_id: ModelId | None = None) -> None:
        """It fits again; without a model, all of it."""
        ...


class Sweep(Protocol):
    """Any number of sweepers may run."""

    def expired_leases(self) -> Sequence[FeedId]:
        """Feeds whose poll died; their runs are incomplete afterwards. `Schedule.claim_due` sends them
        again."""
        ...

    def unmerged(self, *, older_than_s: float) -> Sequence[tuple[DataSourceId, ModelId]]:
        """Where a merge should be nudged: the first unmerged batch of some log has waited so long, or
        its backoff is over."""
        ...

    def remove_old(self, retention: Retention) -> Removed:
        """Remove what has had its time; of each (feed, data source) the last merged batch stays, for a
        store restored from a backup is recognised by it."""
        ...
