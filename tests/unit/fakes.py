"""The ports of the merge step, by hand: a journal and a store that keep what they are told in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from headrace.domain import payload
from headrace.domain.shape import Column, ModelShape, SourceShape
from headrace.domain.shape import Mapping as MappingShape
from headrace.domain.vocabulary import (
    CUSTOMER,
    DELETED,
    INVALID,
    AppId,
    BatchId,
    BatchKind,
    DataSourceId,
    FeedId,
    LogId,
    ModelId,
    PropertyType,
    RunId,
    SourceId,
)
from headrace.errors import DataRejectedError
from headrace.ports import (
    Applied,
    FeedLog,
    FeedPlan,
    FeedScope,
    KeyChunk,
    KeysOutcome,
    MergeCounts,
    ReadPlan,
    RefusedRow,
    RejectedRow,
    Relation,
    WaitingBatch,
)

USERS = SourceId("users")
PURCHASES = SourceId("purchases")
APP, STORE, MODEL = AppId("app"), DataSourceId("main"), ModelId("users")
NOW = datetime(2024, 1, 1, tzinfo=UTC)
_ID = Column(name="id", type=PropertyType.INTEGER, source_column="id")


def _shape(id_: SourceId) -> SourceShape:
    mapping = None if id_ == USERS else MappingShape(column="id", property="id")
    return SourceShape(
        id=id_, model=MODEL, primary=id_ == USERS, key=(_ID,), columns=(_ID,), properties=(), mapping=mapping
    )


MODEL_SHAPE = ModelShape(id=MODEL, key=(_ID,), columns=(_ID,), sources=(_shape(USERS), _shape(PURCHASES)))


class FixedClock:
    """Implements `Clock`."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


@dataclass
class Told:
    """Implements `Nudge`: what was nudged, in order."""

    polls: list[FeedId] = field(default_factory=list)

    def poll(self, feed_id: FeedId) -> None:
        self.polls.append(feed_id)

    def merge(self, data_source_id: DataSourceId, model: ModelId) -> None:
        raise AssertionError("a merge nudges no merge")

    def reconcile(self, feed_id: FeedId, *, full: bool) -> None:
        raise AssertionError("a merge reconciles nothing")


@dataclass
class FixedCatalogue:
    """Implements `Definitions` and `Catalogue`: the same shapes always."""

    fingerprint: str = "shape-1"

    def __call__(self, *, at_least: int = 0) -> FixedCatalogue:
        return self

    @property
    def version(self) -> int:
        return 1

    def feed(self, source_id: SourceId, app_id: AppId) -> FeedPlan:
        return FeedPlan(
            source=MODEL_SHAPE.source(source_id),
            shape_fingerprint=self.fingerprint,
            app_id=app_id,
            read=ReadPlan(relation=Relation(table="users"), columns=("id",), key=("id",), cursor=None),
            visibility_group="g",
            schema="s",
            customer="c",
            customer_column=None,
            create_unknown_customers=True,
            clock="database",
            deletes="reconcile",
            deleted_column=None,
            reconcile_full=False,
            chunkable=True,
        )

    def model(self, model_id: ModelId) -> ModelShape:
        return MODEL_SHAPE

    def contract(self, model_id: ModelId) -> Mapping[SourceId, str]:
        return {USERS: self.fingerprint, PURCHASES: self.fingerprint}


@dataclass
class FakeJournal:
    """Implements `Journal`, as one list of batches a log."""

    logs_of: dict[SourceId, FeedLog] = field(default_factory=dict)
    batches: dict[LogId, list[WaitingBatch]] = field(default_factory=dict)
    payloads: dict[BatchId, bytes] = field(default_factory=dict)
    delays: dict[BatchId, list[float]] = field(default_factory=dict)
    backs_off: set[BatchId] = field(default_factory=set)
    refusals: dict[BatchId, str] = field(default_factory=dict)
    requested: list[tuple[str, ...]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    rejected: dict[str, tuple[BatchId, RejectedRow]] = field(default_factory=dict)
    """What is set aside and open, by key."""
    noted: list[Mapping[str, Any]] = field(default_factory=list)
    """Every state of a bisection, in order."""
    marking: Callable[[], None] = lambda: None
    asked: Callable[[], None] = lambda: None
    """Told before it says what waits: here another worker does something in between."""

    def append(
        self,
        rows: Sequence[int],
        *,
        source: SourceId = USERS,
        kind: BatchKind = BatchKind.ROWS,
        shape: str = "shape-1",
        meta: Mapping[str, Any] | None = None,
        loads: bool = False,
    ) -> BatchId:
        log = self.logs_of.get(source) or FeedLog(
            feed_id=FeedId(f"feed-{source}"),
            source_id=source,
            app_id=APP,
            data_source_id=STORE,
            log_id=LogId(f"log-{source}"),
            seq=0,
            merged_seq=0,
        )
        self.logs_of[source] = log = replace(log, seq=log.seq + 1, loads=loads)
        batch = WaitingBatch(
            id=BatchId(f"{log.log_id}:{log.seq}"),
            feed_id=log.feed_id,
            log_id=log.log_id,
            seq=log.seq,
            kind=kind,
            rows=len(rows),
            payload_bytes=1,
            attempts=0,
            shape_fingerprint=shape,
            meta=meta or {},
            run_id=RunId("run"),
            journalled_at=NOW,
        )
        self.batches.setdefault(log.log_id, []).append(batch)
        self.payloads[batch.id] = payload.encode(_events(rows))
        return batch.id

    def attempts(self, batch_id: BatchId) -> int:
        return next(b.attempts for all_ in self.batches.values() for b in all_ if b.id == batch_id)

    def logs(self, data_source_id: DataSourceId, model: ModelId) -> tuple[FeedLog, ...]:
        return tuple(self.logs_of.values())

    def batch_at(self, log: FeedLog, seq: int) -> BatchId | None:
        return next((b.id for b in self.batches.get(log.log_id, ()) if b.seq == seq), None)

    def waiting(
        self, log: FeedLog, *, after_seq: int, max_batches: int, max_bytes: int
    ) -> tuple[WaitingBatch, ...]:
        self.asked()
        merged = self.logs_of[log.source_id].merged_seq
        pending = [b for b in self.batches.get(log.log_id, ()) if b.seq > max(after_seq, merged)]
        found: list[WaitingBatch] = []
        for seq, batch in enumerate(pending[:max_batches], start=after_seq + 1):
            if batch.seq != seq or batch.id in self.backs_off:
                break
            found.append(replace(batch, may_supersede=bool(self.rejected)))
        return tuple(found)

    def back_off_reason(self, log: FeedLog, seq: int) -> str | None:
        batch_id = self.batch_at(log, seq)
        return self.refusals.get(batch_id, "refused") if batch_id in self.backs_off and batch_id else None

    def payload(self, batch_id: BatchId) -> bytes | None:
        return self.payloads.get(batch_id)

    def count_attempt(self, batch_ids: Sequence[BatchId]) -> None:
        self._add_attempts(batch_ids, 1)

    def give_back_attempt(self, batch_ids: Sequence[BatchId]) -> None:
        self._add_attempts(batch_ids, -1)

    def _add_attempts(self, batch_ids: Sequence[BatchId], more: int) -> None:
        for log_id, batches in self.batches.items():
            self.batches[log_id] = [
                replace(b, attempts=b.attempts + more) if b.id in batch_ids else b for b in batches
            ]

    def back_off(self, batch_ids: Sequence[BatchId], error: str, *, delay_s: float) -> None:
        for batch_id in batch_ids:
            self.delays.setdefault(batch_id, []).append(delay_s)
            self.refusals[batch_id] = error
            self.backs_off.add(batch_id)

    def note_bisection(self, batch_id: BatchId, bisection: Mapping[str, Any]) -> None:
        noted = json.loads(json.dumps(bisection))
        self.noted.append(noted)
        for log_id, batches in self.batches.items():
            self.batches[log_id] = [replace(b, bisection=noted) if b.id == batch_id else b for b in batches]

    def set_aside(self, batch_id: BatchId, rows: Sequence[RejectedRow]) -> None:
        self.rejected = {key: row for key, row in self.rejected.items() if row[0] != batch_id}
        self.rejected |= {row.key: (batch_id, row) for row in rows}

    def refused_rows(self, feed_id: FeedId) -> tuple[RefusedRow, ...]:
        return tuple(
            RefusedRow(id=place, key=key, data_source_id=STORE, batch_id=batch_id, journalled_at=NOW)
            for place, (key, (batch_id, _)) in enumerate(self.rejected.items())
        )

    def resolve(self, rejected_ids: Sequence[int]) -> None:
        keys = list(self.rejected)
        for id_ in rejected_ids:
            del self.rejected[keys[id_]]

    def mark_merged(self, batch_ids: Sequence[BatchId], *, rows_changed: int) -> None:
        self.marking()
        for source, log in self.logs_of.items():
            seqs = [b.seq for b in self.batches.get(log.log_id, ()) if b.id in batch_ids]
            self.logs_of[source] = replace(log, merged_seq=max(log.merged_seq, *seqs, 0))

    def request_keys(self, feed_id: FeedId, keys: Sequence[tuple[str, ...]]) -> None:
        self.requested.extend(keys)

    def begin_new_log(self, log: FeedLog, reason: str) -> bool:
        if self.logs_of[log.source_id].log_id != log.log_id:
            return False
        self.reasons.append(reason)
        new = LogId(f"{log.log_id}+")
        self.logs_of[log.source_id] = replace(log, log_id=new, seq=0, merged_seq=0)
        return True


def _events(rows: Sequence[int]) -> pa.Table:
    size = len(rows)
    return pa.table(
        {
            "id": pa.array(rows, pa.int64()),
            CUSTOMER: pa.array(["c"] * size, pa.string()),
            DELETED: pa.array([False] * size, pa.bool_()),
            INVALID: pa.nulls(size, pa.string()),
        }
    )


@dataclass
class FakeStore:
    """Implements `Stores`, and of `RecordStore` and `MergeTransaction` what a merge needs. A merge that
    ends with an error leaves nothing."""

    rows: list[tuple[SourceId, int]] = field(default_factory=list)
    marks: dict[FeedId, Applied] = field(default_factory=dict)
    shape: str = "shape-1"
    refused: dict[int, Exception] = field(default_factory=dict)
    """What is raised when a row is applied."""
    refused_keys: Exception | None = None
    """What is raised when keys are applied."""
    locked: Callable[[], bool] = lambda: False
    missing: tuple[tuple[str, ...], ...] = ()
    chunks: list[KeyChunk] = field(default_factory=list)
    dropped: list[tuple[str, int]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    """Kinds of what was applied, in order."""
    recomputing: Callable[[list[int]], None] = lambda rows: None
    """Told the rows that the store has, before it recomputes."""
    committing: Callable[[], None] = lambda: None
    """Called when a merge that went well is about to be committed."""
    begins_loads: bool = False
    """A batch of a load leaves the tables without their key, until the load ends."""
    loading: bool = False
    ends: list[int] = field(default_factory=list)
    """How many rows there were at each end of a load."""
    tries: int = 0
    trying: bool = False
    runs: list[int] = field(default_factory=list)
    """How many rows each committed transaction applied."""
    silent: set[str] = field(default_factory=set)

    def open(self, data_source_id: DataSourceId) -> Any:
        return self

    def applied(self, model: ModelShape | None = None) -> Mapping[FeedId, Applied]:
        return dict(self.marks)

    @contextmanager
    def merging(self, model: ModelShape) -> Iterator[Any]:
        if self.locked():
            yield None
            return
        rows, marks, loading = list(self.rows), dict(self.marks), self.loading
        try:
            yield self
            self.committing()
        except BaseException:
            self.rows, self.marks, self.loading = rows, marks, loading
            raise
        self.runs.append(len(self.rows) - len(rows))

    def contract(self) -> Mapping[SourceId, str]:
        return {USERS: self.shape, PURCHASES: self.shape}

    def apply_rows(
        self, scope: FeedScope, rows: pa.Table, *, kind: BatchKind = BatchKind.ROWS
    ) -> MergeCounts:
        self.order.append("rows")
        if kind is BatchKind.LOAD and self.begins_loads:
            self.loading = True
        else:
            self.end_load()
        for id_ in rows.column("id").to_pylist():
            if id_ in self.refused:
                raise self.refused[id_]
            self.rows.append((scope.source.id, id_))
        return MergeCounts(inserted=rows.num_rows)

    def apply_keys(self, scope: FeedScope, keys: pa.Table, chunk: KeyChunk) -> KeysOutcome:
        self.order.append("keys")
        if self.refused_keys is not None:
            raise self.refused_keys
        self.chunks.append(chunk)
        return KeysOutcome(missing=self.missing, removed=1, held=2, counts=MergeCounts(deleted=1))

    def drop_customer(self, scope: FeedScope, customer: str, epoch: int) -> MergeCounts:
        self.order.append("drop")
        self.dropped.append((customer, epoch))
        return MergeCounts(deleted=1)

    def loads(self) -> bool:
        return self.loading

    def end_load(self) -> None:
        if self.loading:
            self.ends.append(len(self.rows))
        self.loading = False

    def recompute(self) -> MergeCounts:
        self.recomputing([id_ for _, id_ in self.rows])
        return MergeCounts()

    def refusal(self, tried: Callable[[Any], object]) -> str | None:
        rows, self.trying = list(self.rows), True
        self.tries += 1
        try:
            tried(self)
        except DataRejectedError as error:
            return str(error)
        finally:
            self.rows, self.trying = rows, False
        return None

    def silence(self, customers: Iterable[str]) -> None:
        self.silent |= set(customers)

    def mark_applied(self, feed_id: FeedId, applied: Applied) -> None:
        self.marks[feed_id] = applied
