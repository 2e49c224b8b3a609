"""The few Protocols between the steps and the world, with the values that cross them.

One conformance suite per port runs over every implementation (tests/conformance).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

import pyarrow as pa

from headrace.domain.position import Fence, Position
from headrace.domain.shape import ModelShape, SourceShape
from headrace.domain.vocabulary import (
    AppId,
    BatchId,
    BatchKind,
    DataSourceId,
    FeedClass,
    FeedId,
    LeaseId,
    LogId,
    ModelId,
    PropertyType,
    RunId,
    SourceId,
)

# --- reading ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Relation:
    """What a source reads: a table (`name` or `namespace.name`) or one SELECT. Exactly one is set."""

    table: str | None = None
    query: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """What the source's catalogue says of a column."""

    name: str
    native_type: str
    type: PropertyType
    """The property type that a value of the native type becomes without being asked."""
    nullable: bool
    portable_order: bool
    """The source can order this column as the store orders `type` (integers, dates, datetimes,
    uuids, bytewise text): a reconciliation may cut the key space at its values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """Columns in order, the primary key's columns (empty for a query or none), and a fingerprint of
    names and native types that changes when the source's shape does."""

    columns: tuple[ColumnFacts, ...]
    primary_key: tuple[str, ...]
    fingerprint: str

    def column(self, name: str) -> ColumnFacts | None:
        return next((c for c in self.columns if c.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableListing:
    """One table for `discover`: its facts, an estimate of its rows, and what suits a source."""

    table: str
    facts: TableFacts
    estimated_rows: int | None
    suggested_key: tuple[str, ...]
    suggested_cursor: str | None
    cursor_has_index: bool
    foreign_keys: tuple[ForeignKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlan:
    """How one feed reads its relation. `columns` includes key and cursor; `key` has at least one
    column; `time_zone` is that of naive date-times (an IANA name)."""

    relation: Relation
    columns: tuple[str, ...]
    key: tuple[str, ...]
    cursor: str | None
    time_zone: str = "UTC"
    page_rows: int = 50_000
    page_bytes: int = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Since:
    """Rows with a cursor that is not null, after `after` (all when None), up to `until` inclusive (no
    bound when None), ordered by (cursor, key)."""

    after: Position | None
    until: str | None


@dataclass(frozen=True, slots=True)
class NullCursors:
    """Rows whose cursor is null, ordered by key."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """Rows whose cursor is greater than `until`, ordered by key."""

    until: str


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Rows with `after` < key <= `upto` in the portable order (a None bound is open), ordered by key,
    at most `limit` of them. `KeyRange(None, None, None)` reads the whole relation by key."""

    after: tuple[str, ...] | None
    upto: tuple[str, ...] | None
    limit: int | None


@dataclass(frozen=True, slots=True)
class ExactKeys:
    """The rows with one of these keys, ordered by key. Keys are texts in the order of the plan's
    `key`: the source's own or canonical ones."""

    keys: tuple[tuple[str, ...], ...]


Selection = Since | NullCursors | Beyond | KeyRange | ExactKeys


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows in order: an Arrow table of utf8 columns named and ordered as `ReadPlan.columns`,
    each value in the source's own text, null where null. Never empty. `end` is the place of the last row; its
    cursor is "" where the selection is not ordered by cursor."""

    rows: pa.Table
    end: Position


class SourceReader(Protocol):
    """Reads one app. Read-only, with time-outs; not shared between threads.

    Errors: `SourceUnavailableError` for what may pass, `SourceDriftError` when relation or column is
    missing, `ConfigurationError` for what a person must mend (password, rights).
    """

    def describe(self, relation: Relation) -> TableFacts:
        """Ask the catalogue (for a query: a prepared, unexecuted or empty result)."""
        ...

    def tables(self) -> tuple[TableListing, ...]: ...

    def change_token(self) -> str | None:
        """Something cheap that changes whenever anything in the database has changed, since this
        reader was opened; None where the source has no such thing."""
        ...

    def fence(self, plan: ReadPlan, previous_state: str | None) -> Fence:
        """Must be asked before the snapshot of `read` is opened: the order is load-bearing."""
        ...

    def rank(self, plan: ReadPlan, cursor: str) -> Any:
        """The order of the cursor's texts (see `domain.position.Rank`)."""
        ...

    def read(self, plan: ReadPlan, selection: Selection) -> AbstractContextManager[Iterator[Page]]:
        """Stream one statement of one snapshot, opened when the context is entered."""
        ...

    def close(self) -> None: ...


# --- the journal --------------------------------------------------------------------------------


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
    """

    id: str
    full: bool
    into: DataSourceId | None = None
    after: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedState:
    """What a feed remembers between polls; changes only in the journal's transaction.

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
class ClaimedFeed:
    """A feed that this worker holds, as it was when the lease was taken.

    Attributes:
        reconcile: "keys" or "full" when one is asked for or due, else None.
        reconcile_into: data sources that began a new log and wait for a full reconciliation each.
        confirm: remove what the breaker held back.
        fingerprint: the source's columns (`TableFacts.fingerprint`) that the definitions were applied to.
        definition_version: the applied definitions that the feed belongs to.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A batch to journal. `payload` is an Arrow IPC stream with zstd; `meta` is JSON (for kind keys:
    the chunk, see `KeyChunk`; for drop: customer and epoch)."""

    data_source_id: DataSourceId
    kind: BatchKind
    rows: int
    payload: bytes
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """A row that was set aside. `key` is a JSON array of texts (or nulls), `raw` a JSON object of the
    source's texts. `code` is from a closed list (metrics), `reason` is for a person."""

    key: str
    code: str
    reason: str
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One transaction of the journal: a page's batches, the state after it, and what was set aside.

    Attributes:
        seen_keys: keys (JSON arrays) whose open rejected rows this page supersedes, only those that the
            caller knows to be open.
        answered_requests: ids of key requests that this entry fetched.
        finished_reconcile: the reconciliation ended: clears what asked for it.
    """

    run_id: RunId
    trigger: str
    state: FeedState
    batches: Sequence[NewBatch]
    rejected: Sequence[RejectedRow] = ()
    seen_keys: Sequence[str] = ()
    answered_requests: Sequence[int] = ()
    rows_read: int = 0
    routing_version: int | None = None
    feed_class: FeedClass | None = None
    class_reason: str = ""
    finished_reconcile: Reconciliation | None = None
    confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PollOutcome:
    """How a poll ended. `error` is for a person, scrubbed; `stop` pauses the feed (drift); a poll that
    is not `complete` left its source before the end (backpressure, a process that stops): it is due
    again at once."""

    run_id: RunId
    succeeded: bool
    complete: bool = True
    error: str | None = None
    stop: bool = False


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

    def open_rejected_keys(self, feed_id: FeedId) -> frozenset[str]:
        """Keys (JSON arrays) of this feed's open rejected rows, at most some thousands."""
        ...

    def written_data_sources(self, feed_id: FeedId) -> tuple[DataSourceId, ...]:
        """Every data source that this feed has a log in."""
        ...

    def blocked_data_sources(
        self, feed_id: FeedId, *, max_batches: int, max_bytes: int
    ) -> frozenset[DataSourceId]:
        """Those whose unmerged batches of this feed are over a limit (backpressure)."""
        ...


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


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingBatch:
    """An unmerged batch that is not in backoff behind another one."""

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


# --- routing and nudging ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Where customers' rows go, at one routing version.

    Attributes:
        version: what the journal's transaction checks.
        data_sources: the data source by customer (`provided_id`).
        refused: why a customer leads nowhere, by customer: such rows are held.
    """

    version: int
    data_sources: Mapping[str, DataSourceId]
    refused: Mapping[str, str]


class Routes(Protocol):
    def resolve(
        self, *, schema: str, visibility_group: str, customers: Iterable[str], create_unknown: bool
    ) -> Routing:
        """Resolve each `provided_id`; unknown ones are made first when `create_unknown`."""
        ...


class Nudge(Protocol):
    """Says that there is work; may be lost, doubled or reordered without harm."""

    def poll(self, feed_id: FeedId) -> None: ...

    def merge(self, data_source_id: DataSourceId, model: ModelId) -> None: ...

    def reconcile(self, feed_id: FeedId, *, full: bool) -> None: ...


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds."""
        ...


# --- storing ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Applied:
    """What a store last applied of a feed's log."""

    log_id: LogId
    seq: int
    batch_id: BatchId


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedScope:
    """Which rows of the store are a feed's. `customer` is the fixed customer of its rows
    (`provided_id`), None when each row says its own in a column."""

    feed_id: FeedId
    app_id: AppId
    source: SourceShape
    customer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChunk:
    """The piece (after, upto] of the key space that a batch of keys speaks for, bounds as canonical
    texts in the order of the key (None: open).

    Attributes:
        opens: the first batch of its chunk: every row of the feed in the chunk that the batch lacks is
            noted as gone; a later batch of the chunk takes its keys out again.
        closes: the last batch of the reconciliation: what is still noted is removed, unless the
            breaker holds it.
        forbid_removal: the source's deletes are ignored.
        confirmed: remove what an earlier reconciliation's breaker held (a batch without keys).
    """

    reconciliation: str
    after: tuple[str, ...] | None = None
    upto: tuple[str, ...] | None = None
    opens: bool = True
    closes: bool = False
    forbid_removal: bool = False
    confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeCounts:
    """Records of the model that a merge wrote."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def __add__(self, other: MergeCounts) -> MergeCounts:
        return MergeCounts(
            inserted=self.inserted + other.inserted,
            updated=self.updated + other.updated,
            deleted=self.deleted + other.deleted,
        )

    @property
    def changed(self) -> int:
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysOutcome:
    """What a batch of keys found.

    Attributes:
        missing: keys that the store lacks, as canonical texts: to be fetched.
        removed: rows removed (records of a primary source, staged rows of a secondary one).
        held: rows that the breaker kept; 0 when it did not trip.
    """

    missing: tuple[tuple[str, ...], ...]
    removed: int
    held: int
    counts: MergeCounts


class MergeTransaction(Protocol):
    """One transaction of one (data source, model), its lock held. Commits when the context is left
    without an error."""

    def applied(self) -> Mapping[FeedId, Applied]: ...

    def contract(self) -> Mapping[SourceId, str]:
        """Fingerprints of the source shapes that the store's tables were made for."""
        ...

    def apply_rows(
        self, scope: FeedScope, rows: pa.Table, *, kind: BatchKind = BatchKind.ROWS
    ) -> MergeCounts:
        """Apply rows of one or more batches, in order; of rows with one key the last wins. `load` is a
        hint that they are new."""
        ...

    def apply_keys(self, scope: FeedScope, keys: pa.Table, chunk: KeyChunk) -> KeysOutcome:
        """`keys` has the key's columns of the shape, and `_customer_id`."""
        ...

    def drop_customer(self, scope: FeedScope, customer: str, binding_epoch: int) -> MergeCounts: ...

    def recompute(self) -> MergeCounts:
        """Recompute what the applied rows touched, in dependency order; once, at the end."""
        ...

    def mark_applied(self, feed_id: FeedId, applied: Applied) -> None: ...


@dataclass(frozen=True, slots=True)
class TableChange:
    """One thing that `prepare` would do, in words (`plan` prints it)."""

    table: str
    change: str


class RecordStore(Protocol):
    """One data source. Errors: `StoreUnavailableError` for what may pass, `DataRejectedError` when the
    data itself is refused, `ConfigurationError` for what a person must mend."""

    def pending_changes(self, models: Sequence[ModelShape]) -> tuple[TableChange, ...]: ...

    def prepare(self, models: Sequence[ModelShape]) -> tuple[TableChange, ...]:
        """Make or alter tables, additive where it can be, and stamp identity and contract; takes each
        model's merge lock. Idempotent. Recomputes every record of a source whose properties changed."""
        ...

    def merging(self, model: ModelShape) -> AbstractContextManager[MergeTransaction | None]:
        """Try the lock (data source, model) first; None when another holds it."""
        ...

    def applied(self, model: ModelShape) -> Mapping[FeedId, Applied]:
        """Read without the lock (sweeper, status)."""
        ...

    def records(
        self, model: ModelShape, *, customer: str | None, key: tuple[str, ...] | None, limit: int
    ) -> pa.Table:
        """`_customer_id`, the properties in Arrow types, `_created_at`, `_updated_at` (datetime),
        `_invalid` (JSON text), ordered by primary key."""
        ...

    def staged_rows(self, source: SourceShape, *, customer: str, value: str, limit: int) -> pa.Table:
        """The rows of a secondary source behind a record whose mapped property has this canonical text."""
        ...

    def held_rows(self) -> Mapping[FeedId, int]:
        """Rows that a breaker holds back, by feed."""
        ...

    def count(self, model: ModelShape) -> int: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPlan:
    """What a fetch worker knows of a feed besides its state: compiled from the applied definitions.

    Attributes:
        customer: the fixed customer (`provided_id`), or None with `customer_column` set.
        shape_fingerprint: `shape_fingerprint(source)`: travels with every batch.
        deleted_column: set means gone; None when deletes are found by reconciliation.
        chunkable: the key's order is the same at source and store.
        indexed: columns of the shape that a store has an index on beside the key: the mapping's, and
            those that other sources are mapped to.
    """

    source: SourceShape
    shape_fingerprint: str
    app_id: AppId
    read: ReadPlan
    visibility_group: str
    schema: str
    customer: str | None
    customer_column: str | None
    create_unknown_customers: bool
    clock: str
    deletes: str
    deleted_column: str | None
    reconcile_full: bool
    chunkable: bool
    indexed: tuple[str, ...] = ()


class Catalogue(Protocol):
    """The applied definitions at one version, compiled."""

    @property
    def version(self) -> int: ...

    def feed(self, source_id: SourceId, app_id: AppId) -> FeedPlan: ...

    def model(self, model_id: ModelId) -> ModelShape: ...

    def contract(self, model_id: ModelId) -> Mapping[SourceId, str]:
        """The fingerprint of each source of the model, as a store has them that was made for it."""
        ...


class Definitions(Protocol):
    """Gives the applied definitions."""

    def __call__(self, *, at_least: int = 0) -> Catalogue:
        """What was applied a moment ago or later; no older than version `at_least`."""
        ...


class Readers(Protocol):
    def lend(self, app_id: AppId) -> AbstractContextManager[SourceReader]:
        """A reader of the app for this thread alone; given back when the context is left, closed when
        an error left it."""
        ...


class Stores(Protocol):
    def open(self, data_source_id: DataSourceId) -> RecordStore:
        """The one store of a data source in this process, shared by its threads."""
        ...


# --- applying -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedFeed:
    """One feed as the definitions want it.

    Attributes:
        fingerprint: the source's columns (`TableFacts.fingerprint`).
        shape_fingerprint: of the source's shape: copied to every batch that is journalled.
        every_s, cron: at most one is set; neither: the feed is polled only when asked.
        reconcile: what a reconciliation that falls due reads.
        reconcile_every_s: None: only when asked.
        reread: what was read is void: the feed begins anew, and so do its logs.
    """

    source_id: SourceId
    app_id: AppId
    model_id: ModelId
    fingerprint: str
    shape_fingerprint: str
    every_s: float | None = None
    cron: str | None = None
    reconcile: Literal["keys", "full"] = "keys"
    reconcile_every_s: float | None = None
    paused: bool = False
    reread: bool = False


class Registry(Protocol):
    """The applied definitions, in the control database."""

    def compiled(self) -> str | None:
        """The text that `publish` was given last, None before the first time."""
        ...

    def publish(
        self, bodies: Mapping[tuple[str, str], Any], compiled: str, feeds: Sequence[AppliedFeed]
    ) -> int:
        """Make these the applied definitions, in one transaction; the version they have now.

        Feeds that are read again get a new epoch and new logs, feeds that are no more are ended, all
        others keep everything. `bodies` are the definitions as written, by kind and id.

        Raises:
            ConfigurationError: routing would lead a customer away from its records.
        """
        ...
