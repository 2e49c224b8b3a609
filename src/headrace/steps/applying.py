"""Applying batches of one log within a transaction of its data source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import pyarrow as pa

from headrace.domain import payload
from headrace.domain.events import key_json
from headrace.domain.latest import last_rows
from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import BatchId, BatchKind
from headrace.errors import LeaseLostError
from headrace.ports import (
    Catalogue,
    FeedLog,
    FeedScope,
    Journal,
    KeyChunk,
    KeysOutcome,
    MergeCounts,
    MergeTransaction,
    WaitingBatch,
)
from headrace.steps.chunk import key_chunk
from headrace.steps.rejection import superseded
from headrace.steps.silence import silent_in


def _kind(batch: WaitingBatch) -> BatchKind:
    """`load` is a hint: such batches are rows."""
    return BatchKind.ROWS if batch.kind is BatchKind.LOAD else batch.kind


@dataclass(frozen=True, slots=True)
class Applying:
    """The batches of one log, by the definitions of one version."""

    journal: Journal
    catalogue: Catalogue
    feed_log: FeedLog

    @property
    def model(self) -> ModelShape:
        plan = self.catalogue.feed(self.feed_log.source_id, self.feed_log.app_id)
        return self.catalogue.model(plan.source.model)

    @property
    def scope(self) -> FeedScope:
        feed_log = self.feed_log
        plan = self.catalogue.feed(feed_log.source_id, feed_log.app_id)
        return FeedScope(
            feed_id=feed_log.feed_id,
            app_id=feed_log.app_id,
            source=self.model.source(feed_log.source_id),
            customer=plan.customer,
        )

    def events(self, batch: WaitingBatch) -> pa.Table:
        """What the batch holds. Raises LeaseLostError when its log was ended meanwhile."""
        encoded = self.journal.payload(batch.id)
        if encoded is None:
            raise LeaseLostError(f"batches of log {batch.log_id} are gone")
        table: pa.Table = payload.decode(encoded)
        return table

    def last_events(self, batch: WaitingBatch) -> pa.Table:
        """Of the events of each key the last one, which is what counts."""
        table: pa.Table = last_rows(self.events(batch), [c.name for c in self.scope.source.key])
        return table

    def apply_rows(self, transaction: MergeTransaction, rows: pa.Table) -> None:
        """These events alone are applied, and what they touch is recomputed."""
        transaction.apply_rows(self.scope, rows)
        transaction.recompute()

    def apply(
        self,
        transaction: MergeTransaction,
        run: Sequence[WaitingBatch],
        tables: Sequence[pa.Table],
        eased: Mapping[BatchId, KeyChunk],
    ) -> KeysOutcome:
        """The batches are applied in order; what they touch is not recomputed yet. They are all silent of the
        same customers.

        Args:
            tables: the events of each batch that shall be applied.
            eased: what is asked of batches of keys that were refused, instead of their own chunk.
        """
        total = _outcome(MergeCounts())
        transaction.silence(silent_in(run[0]))
        for kind, group in groupby(zip(run, tables, strict=True), lambda pair: _kind(pair[0])):
            pairs = list(group)
            if kind is BatchKind.ROWS:
                rows = pa.concat_tables([table for _, table in pairs])
                load = all(batch.kind is BatchKind.LOAD for batch, _ in pairs)
                hint = BatchKind.LOAD if load else BatchKind.ROWS
                total = _added(total, _outcome(transaction.apply_rows(self.scope, rows, kind=hint)))
                continue
            for batch, table in pairs:
                chunk = eased.get(batch.id)
                total = _added(total, self._apply_one(transaction, batch, table, chunk))
        total = replace(total, spared=self._not_refused_before(total.spared))
        if total.missing or total.spared:
            # Asked for before the target commits: a crash asks for too much, never too little.
            self.journal.request_keys(self.feed_log.feed_id, (*total.missing, *total.spared))
        return total

    def _apply_one(
        self, transaction: MergeTransaction, batch: WaitingBatch, table: pa.Table, chunk: KeyChunk | None
    ) -> KeysOutcome:
        if batch.kind is BatchKind.KEYS:
            return transaction.apply_keys(self.scope, table, chunk or key_chunk(batch.meta))
        total, epoch = MergeCounts(), int(batch.meta["epoch"])
        for customer in batch.meta["customers"]:
            total += transaction.drop_customer(self.scope, str(customer), epoch)
        return _outcome(total)

    def _not_refused_before(self, spared: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        """Of a source without a cursor, those that are not set aside already: it is read whole again after
        each key that was asked for, and so would be for ever."""
        plan = self.catalogue.feed(self.feed_log.source_id, self.feed_log.app_id)
        if not spared or plan.read.cursor is not None:
            return spared
        into = self.feed_log.data_source_id
        open_rows = self.journal.refused_rows(self.feed_log.feed_id)
        known = {row.key for row in open_rows if row.data_source_id == into}
        return tuple(key for key in spared if key_json(key) not in known)

    def superseded(self, run: Sequence[WaitingBatch], tables: Sequence[pa.Table]) -> tuple[int, ...]:
        """The open rejected rows of which these events are later versions."""
        of_rows = [(b, t) for b, t in zip(run, tables, strict=True) if _kind(b) is BatchKind.ROWS]
        if not of_rows or not any(batch.may_supersede for batch in run):
            return ()
        open_rows = self.journal.refused_rows(self.feed_log.feed_id)
        key, into = self.scope.source.key, self.feed_log.data_source_id
        found = [superseded(open_rows, batch, events, key=key, into=into) for batch, events in of_rows]
        return tuple(sorted(set().union(*found)))

    def superseded_before(self, run: Sequence[WaitingBatch]) -> tuple[int, ...]:
        """As `superseded`, of batches that were applied by another worker: what it left out of one of them
        is no later version of itself."""
        if not any(batch.may_supersede for batch in run):
            return ()
        try:
            tables = [self.events(batch) for batch in run]
        except LeaseLostError:
            return ()  # who applied them has told control meanwhile, and closed what they supersede
        found = self.superseded(run, tables)
        own = {batch.id for batch in run}
        open_rows = self.journal.refused_rows(self.feed_log.feed_id)
        left_out = {row.id for row in open_rows if row.batch_id in own}
        return tuple(id_ for id_ in found if id_ not in left_out)


def _outcome(counts: MergeCounts) -> KeysOutcome:
    return KeysOutcome(missing=(), removed=0, held=0, counts=counts)


def _added(total: KeysOutcome, outcome: KeysOutcome) -> KeysOutcome:
    return KeysOutcome(
        missing=total.missing + outcome.missing,
        removed=total.removed + outcome.removed,
        held=max(total.held, outcome.held),
        counts=total.counts + outcome.counts,
        spared=total.spared + outcome.spared,
    )
