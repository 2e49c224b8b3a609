"""A feed's side of the journal: its lease, its position, and what one transaction writes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from headrace.domain.position import Position
from headrace.domain.vocabulary import (
    AppId,
    BatchId,
    BatchKind,
    DataSourceId,
    FeedClass,
    FeedId,
    LeaseId,
    RunId,
    SourceId,
)
from headrace.ports.routing import Newcomer


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a feed's log, as long as epoch and id are still the feed's."""

    feed_id: FeedId
    epoch: int
    lease_id: LeaseId


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """A reconciliation under way: resumable, one per feed.

    Attributes:
        id: orders nothing, only tells one from another.
        full: values are read again too.
        into: the only data source it is for (a new log), or None for all that the feed writes to.
        after: the source's text of the last key that is journalled; None at the start.
        incomplete: lines were read that are no rows.
    """

    id: str
    full: bool
    into: DataSourceId | None = None
    after: tuple[str, ...] | None = None
    incomplete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedState:
    """What a feed remembers between polls; changes only in the journal's transaction, but for the fence's
    memory, which a poll may leave with its outcome (`FeedMemory`).

    Attributes:
        first_stream_done: the first read has come to its end once (until then batches are `load`).
        digests: digest of a part of the source as last journalled, by the part's name: such a part
            is skipped while its digest is the same.
    """

    saved: Position | None = None
    lead: Position | None = None
    fence_state: str | None = None
    first_stream_done: bool = False
    digests: Mapping[str, str] = field(default_factory=dict)
    reconciliation: Reconciliation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedMove:
    """A move of which this feed has not read all rows yet.

    Attributes:
        into: where the customers move to.
        customers: who moves (`provided_id`): the customer, and those below who inherit its binding.
        after: the source's text of the last key that is journalled; None at the start.
    """

    id: str
    into: DataSourceId
    customers: tuple[str, ...]
    after: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveProgress:
    """How far a feed has read for a move with the rows of an entry; `done`: to the end."""

    move_id: str
    after: tuple[str, ...] | None
    done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedFeed:
    """A feed that this worker holds, as it was when the lease was taken.

    Attributes:
        reconcile: "keys" or "full" when one is asked for or due, else None.
        reconcile_into: data sources that began a new log and wait for a full reconciliation each.
        confirm: remove what the breaker held back.
        fingerprint: of the source's columns that the feed uses, as the definitions were applied to them.
        definition_version: the applied definitions that the feed belongs to.
        due: its schedule says that it is polled now; False: somebody asked for this poll.
        feed_class: what the feed promised at its last poll; None before the first.
        source_seen: what was noted of the source with the last entry (`domain.source_seen`), JSON text.
        has_moves: customers move whose rows this feed has not all read yet for it (`Feeds.moves`).
        cut: data sources whose logs are cut (`Feeds.cut_stalled`): nothing is journalled for them.
        claimed_at: by the control database's clock.
        every_s, cron: when it is polled.
        has_requests, has_open_rejected, has_pending: whether there were any key requests, open rejected rows
            that no data source has seen, and unmerged batches.
        settles: nothing is journalled for a moment, so that a move can end.
    """

    lease: Lease
    source_id: SourceId
    app_id: AppId
    state: FeedState
    reconcile: str | None
    reconcile_into: tuple[DataSourceId, ...]
    confirm: bool
    fingerprint: str
    definition_version: int
    due: bool = True
    feed_class: FeedClass | None = None
    source_seen: str | None = None
    has_moves: bool = False
    cut: tuple[DataSourceId, ...] = ()
    claimed_at: datetime
    every_s: float | None
    cron: str | None
    has_requests: bool
    has_open_rejected: bool
    has_pending: bool
    settles: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A batch to journal. `payload` is an Arrow IPC stream with zstd; `meta` is JSON (for kind keys:
    the chunk, see `KeyChunk`; for drop: customers and epoch)."""

    data_source_id: DataSourceId
    kind: BatchKind
    rows: int
    payload: bytes
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """A row that was set aside. `key` is a JSON array of texts (or nulls), `raw` a JSON object of the
    source's texts, or the JSON text of a line that is no row. `code` is from a closed list (metrics),
    `reason` is for a person."""

    key: str
    code: str
    reason: str
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSetAside:
    """A rejected row as it is kept. `refused`: by a data source."""

    id: int
    row: RejectedRow
    refused: bool
    discarded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One transaction of the journal: a page's batches, the state after it, and what was set aside.

    Attributes:
        seen_keys: keys (JSON arrays) whose open rejected rows this page supersedes, only those that the
            caller knows to be open.
        vanished_keys: keys (JSON arrays) that the source no longer has, and for which nothing is journalled:
            their rejected rows are open no more, whoever refused them.
        unreadable: the source was read whole, and these keys (JSON arrays) stand for all its lines that are
            no rows: others are open no more. None: it was not.
        answered_requests: ids of key requests that this entry fetched.
        finished_reconcile: the reconciliation ended: clears what asked for it.
        source_seen: what is to be remembered of the source, JSON text; None leaves it as it is.
        asks_reconcile: a full reconciliation is asked for, that this visit may be the one to do.
        newcomers: customers whose first rows these are.
        move: how far the feed has read for a move with these rows.
        changed_at: when the oldest change happened that its rows hold, by the clock that sets the cursor;
            None: that is not known.
        traceparent: of the span that journals it (`traces`).
    """

    run_id: RunId
    trigger: str
    state: FeedState
    batches: Sequence[NewBatch]
    rejected: Sequence[RejectedRow] = ()
    seen_keys: Sequence[str] = ()
    vanished_keys: Sequence[str] = ()
    unreadable: Sequence[str] | None = None
    answered_requests: Sequence[int] = ()
    rows_read: int = 0
    routing_version: int | None = None
    feed_class: FeedClass | None = None
    class_reason: str = ""
    finished_reconcile: Reconciliation | None = None
    confirmed: bool = False
    source_seen: str | None = None
    asks_reconcile: bool = False
    newcomers: Sequence[Newcomer] = ()
    move: MoveProgress | None = None
    changed_at: datetime | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NextPoll:
    """When a feed is due next by the schedule that it had when its lease was taken (see `next_due`)."""

    every_s: float | None
    cron: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedMemory:
    """What a poll leaves beside positions: losing it loses nothing, it may be older than the position."""

    fence_state: str | None
    source_seen: str | None
    feed_class: FeedClass | None
    class_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PollOutcome:
    """How a poll ended.

    Attributes:
        trigger: what the poll was begun by.
        complete: False: it left its source before the end (backpressure, a process that stops): it is due
            again at once.
        error: for a person, scrubbed.
        retryable: an error that may pass by itself: no number of them pauses a feed.
        stop: the feed is paused (drift).
        has_run: something of it was journalled. False spares a search for its run.
        next: when the feed is due; None, or when its schedule is another by now: that is found out.
        memory: is kept when the poll has succeeded.
    """

    run_id: RunId
    succeeded: bool
    trigger: str = "schedule"
    complete: bool = True
    error: str | None = None
    retryable: bool = False
    stop: bool = False
    has_run: bool = True
    next: NextPoll | None = None
    memory: FeedMemory | None = None


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """A key that is to be fetched again, or found deleted. `key`: canonical texts."""

    id: int
    key: tuple[str, ...]


class Feeds(Protocol):
    """Leases, positions and the feed's side of the journal, in the control database."""

    def claim(self, feed_id: FeedId, *, lease_s: float) -> ClaimedFeed | None:
        """Take the lease if it is free or expired by the database's clock: epoch + 1, a new id, `again`
        cleared. None: a live lease, paused, or no such feed."""
        ...

    def renew(self, lease: Lease, *, lease_s: float) -> None:
        """Raises LeaseLostError when it is another's."""
        ...

    def append(self, lease: Lease, entry: JournalEntry, *, lease_s: float) -> tuple[BatchId, ...]:
        """Write batches (dense seq per data source) and state in one transaction opened by
        `UPDATE feed … WHERE epoch = :mine AND lease = :mine`; renews the lease; makes the run's row at
        its first entry. Raises LeaseLostError or RoutingChangedError, with nothing written."""
        ...

    def release(self, lease: Lease, outcome: PollOutcome) -> bool:
        """Give the lease back, note the outcome, plan the next due time; True when `again` was set meanwhile
        (the caller nudges). One UPDATE. A lost lease is left alone (False)."""
        ...

    def key_requests(self, feed_id: FeedId, *, limit: int) -> tuple[KeyRequest, ...]: ...

    def moves(self, feed_id: FeedId) -> tuple[FeedMove, ...]:
        """Moves under way for which this feed has not read all rows yet, oldest first."""
        ...

    def open_rejected_keys(self, feed_id: FeedId) -> frozenset[str]:
        """Keys (JSON arrays) of this feed's open rejected rows that no data source has seen, at most some
        thousands."""
        ...

    def rows_set_aside(self, feed_id: FeedId, *, after: int, limit: int) -> tuple[RowSetAside, ...]:
        """The next rejected rows of this feed by number: the open ones, and of those that a data source
        refused the discarded too."""
        ...

    def written_data_sources(self, feed_id: FeedId) -> tuple[DataSourceId, ...]:
        """Every data source that this feed has a log in."""
        ...

    def blocked_data_sources(
        self, feed_id: FeedId, *, max_batches: int, max_bytes: int
    ) -> frozenset[DataSourceId]:
        """Those whose unmerged batches of this feed are over a limit (backpressure)."""
        ...

    def cut_stalled(self, lease: Lease, over: Collection[DataSourceId]) -> frozenset[DataSourceId]:
        """Cut the logs of those of these data sources that take no batches: what is unmerged of the feed
        there is dropped, and from then on nothing is journalled for them, until `Journal.resume_log`. Gives
        those that were cut. Raises LeaseLostError."""
        ...
