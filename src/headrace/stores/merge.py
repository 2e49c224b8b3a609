"""One merge of one model: the transaction that steps see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import pyarrow as pa

from headrace.domain.latest import last_rows
from headrace.domain.shape import SourceShape
from headrace.domain.vocabulary import CUSTOMER, BatchId, BatchKind, FeedId, LogId, SourceId
from headrace.ports import Applied, FeedScope, KeyChunk, KeysOutcome, MergeCounts, MergeTransaction
from headrace.stores.batch import storable_invalid
from headrace.stores.frame import Frame, names_of
from headrace.stores.gone import Closed, GoneRows
from headrace.stores.layout import APPLIED, CONTRACT, MOVED
from headrace.stores.loading import Loading
from headrace.stores.new_records import append_new
from headrace.stores.recompute import Recompute
from headrace.stores.record_rows import RecordRows
from headrace.stores.repair import Repair
from headrace.stores.staged_rows import StagedRows
from headrace.stores.stored_rows import CREATED_COLUMN
from headrace.stores.touched import Touched

_NOTHING = MergeCounts()


class SqlMerge:
    """`MergeTransaction` over a session whose transaction is open and whose lock is held."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.touched = Touched(frame)
        self._records = RecordRows(frame, self.touched)
        self._staged = StagedRows(frame, self.touched)
        self._loading = Loading(frame, self.touched)
        self._sources: dict[FeedId, SourceId] = {}
        self._repairs: list[SourceShape] = []

    def applied(self) -> Mapping[FeedId, Applied]:
        return read_applied(self._frame)

    def contract(self) -> Mapping[SourceId, str]:
        frame, binds = self._frame, self._frame.binds()
        rows = frame.session.all(
            f"SELECT {frame.names(['source', 'fingerprint'])} FROM {frame.dialect.table(CONTRACT)}"
            f" WHERE {frame.q('model')} = {binds.text(frame.model.id)}",
            binds,
        )
        return {SourceId(source): fingerprint for source, fingerprint in rows}

    def apply_rows(
        self, scope: FeedScope, rows: pa.Table, *, kind: BatchKind = BatchKind.ROWS
    ) -> MergeCounts:
        self._sources[scope.feed_id] = scope.source.id
        if not rows.num_rows:
            return _NOTHING
        frame = self._frame
        rows = storable_invalid(last_rows(rows, names_of(scope.source.key)))
        gone = GoneRows(frame, self.touched, scope)
        if kind is BatchKind.LOAD and not gone.noted() and self._appended(scope, rows):
            return MergeCounts(inserted=rows.num_rows) if scope.source.primary else _NOTHING
        self._loading.end()
        batch = frame.load_rows(scope.source, rows)
        gone.forget_applied(batch)
        counts = _NOTHING
        if scope.source.primary:
            counts = self._records.apply(scope, rows, batch)
            counts += MergeCounts(unchanged=max(0, rows.num_rows - counts.changed))
        else:
            self._staged.apply(scope, batch)
        frame.drop_temp(batch)
        return counts

    def _appended(self, scope: FeedScope, rows: pa.Table) -> bool:
        if self._loading.take(scope, rows):
            return True
        self._loading.end()
        return scope.source.primary and append_new(self._frame, self.touched, scope, rows)

    def apply_keys(self, scope: FeedScope, keys: pa.Table, chunk: KeyChunk) -> KeysOutcome:
        self._sources[scope.feed_id] = scope.source.id
        self._loading.end()
        gone = GoneRows(self._frame, self.touched, scope)
        if chunk.confirmed:
            return _outcome(scope, gone.remove_held(chunk), ())
        missing = self._compared(scope, gone, keys, chunk)
        if chunk.repairs:
            self._repairs.append(scope.source)
        return _outcome(scope, gone.close(chunk) if chunk.closes else Closed(), missing)

    def _compared(
        self, scope: FeedScope, gone: GoneRows, keys: pa.Table, chunk: KeyChunk
    ) -> tuple[tuple[str, ...], ...]:
        """The chunk's rows that the source lacks are noted; gives the keys that the store lacks."""
        if gone.are_exactly(keys, chunk):
            gone.discard_older(chunk)
            return ()
        key = scope.source.key
        keys = last_rows(keys, (CUSTOMER, *names_of(key)))
        batch = self._frame.load_keys(key, keys)
        gone.begin(chunk, batch)
        missing = gone.missing(keys, batch)
        self._frame.drop_temp(batch)
        return missing

    def drop_customer(self, scope: FeedScope, customer: str, epoch: int) -> MergeCounts:
        self._sources[scope.feed_id] = scope.source.id
        self._loading.end()
        removed = GoneRows(self._frame, self.touched, scope).remove_customer(customer)
        frame, q, binds = self._frame, self._frame.q, self._frame.binds()
        moved, noted = frame.dialect.table(MOVED), q("epoch")
        frame.run(
            f"INSERT INTO {moved} AS m ({frame.names(['customer', 'epoch'])})"
            f" VALUES ({binds.text(customer)}, {binds.add(epoch)})"
            f" ON CONFLICT ({q('customer')}) DO UPDATE SET {noted} = excluded.{noted}"
            f" WHERE m.{noted} < excluded.{noted}",
            binds,
        )
        return _record_deletes(scope, removed)

    def set_created(self, created: pa.Table) -> None:
        frame, q = self._frame, self._frame.q
        self._loading.end()
        key = (CUSTOMER, *names_of(frame.model.key))
        columns = [(CUSTOMER, frame.dialect.text), *frame.typed((*frame.model.key, CREATED_COLUMN))]
        known = frame.make_temp("created", columns)
        frame.session.load(known.name, columns, created)
        at = q(CREATED_COLUMN.name)
        frame.run(
            f"UPDATE {frame.records} AS r SET {at} = c.{at} FROM {known.name} AS c"
            f" WHERE {frame.equal(key, 'r', 'c')} AND r.{at} <> c.{at}"
        )
        frame.drop_temp(known)

    def loads(self) -> bool:
        return bool(self._loading.sources)

    def end_load(self) -> None:
        self._loading.end()

    def finish(self) -> None:
        """Nothing is left to do but the commit."""
        self._loading.finish()
        self._frame.events.write()
        self._frame.drop_temps()

    def silence(self, customers: Iterable[str]) -> None:
        self._frame.events.silence(customers)

    def recompute(self) -> MergeCounts:
        updated = Recompute(self._frame, self.touched).run()
        while self._repairs:
            updated += Repair(self._frame, self.touched, self._repairs.pop(0)).run()
        return MergeCounts(updated=updated)

    def refusal(self, tried: Callable[[MergeTransaction], object]) -> str | None:
        # A frame of its own: its temporary tables go with what was tried.
        session, model = self._frame.session, self._frame.model
        return session.refusal(lambda: tried(SqlMerge(Frame(session, model))))

    def mark_applied(self, feed_id: FeedId, applied: Applied) -> None:
        """The source of a feed is known from the batches applied in this transaction, or from before."""
        frame, q, binds = self._frame, self._frame.q, self._frame.binds()
        columns = ["feed", "model", "source", "log", "seq", "batch"]
        source = self._sources.get(feed_id)
        values = [
            binds.text(feed_id),
            binds.text(frame.model.id),
            binds.text(source or ""),
            binds.text(applied.log_id),
            binds.add(applied.seq),
            binds.text(applied.batch_id),
        ]
        kept = () if source else ("source",)
        assigned = ", ".join(f"{q(c)} = excluded.{q(c)}" for c in columns[1:] if c not in kept)
        frame.run(
            f"INSERT INTO {frame.dialect.table(APPLIED)} ({frame.names(columns)})"
            f" VALUES ({', '.join(values)}) ON CONFLICT ({q('feed')}) DO UPDATE SET {assigned}",
            binds,
        )


def read_applied(frame: Frame) -> dict[FeedId, Applied]:
    """What was last applied of each feed of the model."""
    binds = frame.binds()
    rows = frame.session.all(
        f"SELECT {frame.names(['feed', 'log', 'seq', 'batch'])} FROM {frame.dialect.table(APPLIED)}"
        f" WHERE {frame.q('model')} = {binds.text(frame.model.id)}",
        binds,
    )
    return {
        FeedId(feed): Applied(log_id=LogId(log), seq=seq, batch_id=BatchId(batch))
        for feed, log, seq, batch in rows
    }


def _outcome(scope: FeedScope, closed: Closed, missing: tuple[tuple[str, ...], ...]) -> KeysOutcome:
    return KeysOutcome(
        missing=missing,
        removed=closed.removed,
        held=closed.held,
        counts=_record_deletes(scope, closed.removed),
        spared=closed.spared,
    )


def _record_deletes(scope: FeedScope, removed: int) -> MergeCounts:
    return MergeCounts(deleted=removed) if scope.source.primary else _NOTHING
