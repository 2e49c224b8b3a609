"""The merge's side of the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from headrace.domain.vocabulary import (
    AppId,
    BatchId,
    BatchKind,
    DataSourceId,
    FeedId,
    LogId,
    ModelId,
    RunId,
    SourceId,
)
from headrace.ports.feeds import RejectedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedLog:
    """Control's side of one log, with the last journalled (`seq`) and the last merged seq."""

    feed_id: FeedId
    source_id: SourceId
    app_id: AppId
    data_source_id: DataSourceId
    log_id: LogId
    seq: int
    merged_seq: int
    loads: bool = False
    """The feed's first stream has not come to its end: more batches of its load may follow."""
    cut: bool = False
    """Nothing is journalled for the data source until the log is resumed (`Journal.resume_log`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingBatch:
    """An unmerged batch that is not in backoff behind another one.

    Attributes:
        attempts: begun and not given back.
        bisection: how far it is taken apart (`domain.bisection`), None when it is not.
        may_supersede: the feed has open rejected rows that a data source refused: the batch may have
            later versions of them.
        is_stale: no batch of a load is waited for any more that long after this one.
        changed_at, traceparent: see `JournalEntry`.
    """

    id: BatchId
    feed_id: FeedId
    log_id: LogId
    seq: int
    kind: BatchKind
    rows: int
    payload_bytes: int
    attempts: int
    shape_fingerprint: str
    meta: Mapping[str, Any]
    run_id: RunId
    journalled_at: datetime
    bisection: Mapping[str, Any] | None = None
    may_supersede: bool = False
    is_stale: bool = False
    changed_at: datetime | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """An open rejected row that a data source refused.

    Attributes:
        key: JSON array of canonical texts.
        journalled_at: when its batch was; when it was refused, if the batch is no longer remembered.
    """

    id: int
    key: str
    data_source_id: DataSourceId
    batch_id: BatchId
    journalled_at: datetime


class Journal(Protocol):
    """The merge's side of the journal, in the control database."""

    def logs(self, data_source_id: DataSourceId, model: ModelId) -> tuple[FeedLog, ...]: ...

    def batch_at(self, log: FeedLog, seq: int) -> BatchId | None:
        """The id of the batch with this seq of the log, None when it is not (or no longer) there."""
        ...

    def waiting(
        self, log: FeedLog, *, after_seq: int, max_batches: int, max_bytes: int
    ) -> tuple[WaitingBatch, ...]:
        """The next batches of the log in order of seq, from `after_seq` + 1, stopping before a gap or the
        first one that is in backoff; at least one if there is any, whatever its size."""
        ...

    def back_off_reason(self, log: FeedLog, seq: int) -> str | None:
        """What the unmerged batch with this seq was refused with; None when it was not, or is not there."""
        ...

    def payload(self, batch_id: BatchId) -> bytes | None:
        """None when another worker merged it meanwhile."""
        ...

    def count_attempt(self, batch_ids: Sequence[BatchId]) -> None:
        """Before trying: a worker that dies has tried."""
        ...

    def give_back_attempt(self, batch_ids: Sequence[BatchId]) -> None: ...

    def back_off(self, batch_ids: Sequence[BatchId], error: str, *, delay_s: float) -> None: ...

    def note_bisection(self, batch_id: BatchId, bisection: Mapping[str, Any]) -> None:
        """How far an unmerged batch is taken apart; goes when it is merged."""
        ...

    def set_aside(self, batch_id: BatchId, rows: Sequence[RejectedRow]) -> None:
        """These rows of an unmerged batch, and no others, are rejected. Before the data source commits the
        batch without them: a crash in between leaves rejected rows that the repeated batch sets aside again.
        """
        ...

    def refused_rows(self, feed_id: FeedId) -> tuple[RefusedRow, ...]:
        """The feed's open rejected rows that data sources refused, at most some thousands."""
        ...

    def resolve(self, rejected_ids: Sequence[int]) -> None:
        """Later versions of these rejected rows are merged: they are open no more."""
        ...

    def mark_merged(self, batch_ids: Sequence[BatchId], *, rows_changed: int) -> None:
        """Marks, drops payloads, moves the logs' merged_seq. Idempotent."""
        ...

    def request_keys(self, feed_id: FeedId, keys: Sequence[tuple[str, ...]]) -> None:
        """Ask the feed to fetch these keys (canonical texts) and set its `again`. Idempotent per key."""
        ...

    def begin_new_log(self, log: FeedLog, reason: str) -> bool:
        """End this log and begin another with seq 0, unmerged batches dropped, a full reconciliation into
        this data source asked for, `again` set. False when the log was no longer the current one."""
        ...

    def resume_log(self, log: FeedLog) -> bool:
        """Journal for a data source again whose log was cut: a full reconciliation into it alone is asked
        for, `again` set. False when it is not cut any more."""
        ...
