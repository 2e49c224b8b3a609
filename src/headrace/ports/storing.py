"""What crosses the border to a data source, and the port of its store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from headrace.domain.shape import ModelShape, SourceShape
from headrace.domain.vocabulary import AppId, BatchId, BatchKind, DataSourceId, FeedId, LogId, SourceId
from headrace.ports.records import Preview
from headrace.ports.relaying import Outbox
from headrace.ports.verifying import StoredRows


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
        incomplete: lines of the source are no rows, and nobody can tell whose they are: what would be removed
            is held, as by the breaker.
        confirmed: remove what an earlier reconciliation's breaker held (a batch without keys).
        spares: what would be removed is given back, for the store refuses to remove it; more than a few are
            held, as by the breaker.
        repairs: the last batch of a full reconciliation: what the source feeds is computed anew for every
            record, whatever was written to them by hand.
    """

    reconciliation: str
    after: tuple[str, ...] | None = None
    upto: tuple[str, ...] | None = None
    opens: bool = True
    closes: bool = False
    forbid_removal: bool = False
    incomplete: bool = False
    confirmed: bool = False
    spares: bool = False
    repairs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeCounts:
    """Records of the model that a merge wrote; `unchanged` are those that rows of the primary source found
    as they should be."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0

    def __add__(self, other: MergeCounts) -> MergeCounts:
        return MergeCounts(
            inserted=self.inserted + other.inserted,
            updated=self.updated + other.updated,
            deleted=self.deleted + other.deleted,
            unchanged=self.unchanged + other.unchanged,
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
        spared: keys of rows that were not removed although the source lacks them (`KeyChunk.spares`), as
            canonical texts: to be deleted as rows.
    """

    missing: tuple[tuple[str, ...], ...]
    removed: int
    held: int
    counts: MergeCounts
    spared: tuple[tuple[str, ...], ...] = ()


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
        hint that they are new: it may begin, or go on with, a load."""
        ...

    def loads(self) -> bool:
        """A table of the model waits for its key, and records for their recompute, until the load ends:
        by `end_load`, or by whatever else is applied than batches of the load."""
        ...

    def end_load(self) -> None:
        """Every table of the model has its key; what was loaded waits for `recompute`."""
        ...

    def apply_keys(self, scope: FeedScope, keys: pa.Table, chunk: KeyChunk) -> KeysOutcome:
        """`keys` has the key's columns of the shape, and `_customer_id`."""
        ...

    def drop_customer(self, scope: FeedScope, customer: str, epoch: int) -> MergeCounts:
        """All rows of the feed that are the customer's are gone, and who reads by an older version of routing
        than `epoch` is told that the customer has moved."""
        ...

    def set_created(self, created: pa.Table) -> None:
        """Records that are there were created when these say: a page of `StoredRows.created_page`."""
        ...

    def recompute(self) -> MergeCounts:
        """Recompute what the applied rows touched, in dependency order; once, at the end."""
        ...

    def refusal(self, tried: Callable[[MergeTransaction], object]) -> str | None:
        """Why what is tried is refused for its data; None when it is not. Nothing of it stays, and the
        lock is held all the while. Raises DataRejectedError when the refusal ended the transaction."""
        ...

    def silence(self, customers: Iterable[str]) -> None:
        """No event of this transaction is of these customers' records."""
        ...

    def mark_applied(self, feed_id: FeedId, applied: Applied) -> None: ...


@dataclass(frozen=True, slots=True)
class TableChange:
    """One thing that `prepare` would do, in words (`plan` prints it)."""

    table: str
    change: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreExamination:
    """How a data source's database suits the work.

    Attributes:
        at: its clock; None where it is this machine's.
        lacking: what its role may not do and must, each with its mend.
    """

    at: datetime | None = None
    lacking: tuple[str, ...] = ()


class RecordStore(StoredRows, Protocol):
    """One data source. Errors: `StoreUnavailableError` for what may pass, `DataRejectedError` when the
    data itself is refused, `ConfigurationError` for what a person must mend."""

    def examine(self) -> StoreExamination:
        """Asked of the database, in a moment."""
        ...

    def pending_changes(self, models: Sequence[ModelShape]) -> tuple[TableChange, ...]: ...

    def prepare(self, models: Sequence[ModelShape]) -> tuple[TableChange, ...]:
        """Make or alter tables, additive where it can be, and stamp identity and contract; takes each
        model's merge lock. Idempotent. Recomputes every record of a source whose properties changed."""
        ...

    def remove(self, model: ModelShape) -> None:
        """Nothing is left of the model: neither tables nor what is known of its feeds."""
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

    def preview(self) -> Preview:
        """What looks at the tables as they are, of whatever customer."""
        ...

    def held_rows(self) -> Mapping[FeedId, int]:
        """Rows that a breaker holds back, by feed."""
        ...

    def count(self, model: ModelShape) -> int: ...

    @property
    def outbox(self) -> Outbox | None:
        """The events of what merges change; None where none are made."""
        ...

    def close(self) -> None: ...


class Stores(Protocol):
    def open(self, data_source_id: DataSourceId) -> RecordStore:
        """The one store of a data source in this process, shared by its threads."""
        ...
