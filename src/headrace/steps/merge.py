"""Apply the waiting batches of one (data source, model), in order, exactly once.

The store's own `_applied`, read under the lock, says where each log stands; control is only told
afterwards. So a crash at any point is repaired by running this again, anywhere.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile

import pyarrow as pa

from headrace import logs, metrics
from headrace.domain import payload
from headrace.domain.schedule import backoff_s
from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import BatchId, BatchKind, DataSourceId, LogId, ModelId
from headrace.errors import DataRejectedError, InvariantError, LeaseLostError, RetryableError
from headrace.ports import (
    Applied,
    Catalogue,
    Clock,
    Definitions,
    FeedLog,
    FeedScope,
    Journal,
    KeysOutcome,
    MergeCounts,
    MergeTransaction,
    Nudge,
    Stores,
    WaitingBatch,
)
from headrace.steps.chunk import key_chunk
from headrace.steps.merge_report import MergeReport, MergeState, blocked
from headrace.steps.standing import Standing, standing

log = logs.get(__name__)

WAITS_FOR_APPLY = "its tables and definitions are not of one apply; run `headrace apply`"


def _of_shape(batches: Sequence[WaitingBatch], fingerprint: str | None) -> list[WaitingBatch]:
    """The longest run from the start that was made for the shape that the store has."""
    return list(takewhile(lambda b: b.shape_fingerprint == fingerprint, batches))


def _kind(batch: WaitingBatch) -> BatchKind:
    """`load` is a hint: such batches are rows."""
    return BatchKind.ROWS if batch.kind is BatchKind.LOAD else batch.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeStep:
    """The merge of batches into records.

    Attributes:
        run_batches: batches that one transaction takes at most: full ones take some 30 MB each until
            they are loaded.
        run_bytes: payload bytes (compressed) that one transaction takes at most.
    """

    journal: Journal
    stores: Stores
    catalogue: Definitions
    nudge: Nudge
    clock: Clock
    random: random.Random
    run_batches: int = 4
    run_bytes: int = 16 * 1024 * 1024

    def drain(self, data_source_id: DataSourceId, model_id: ModelId) -> MergeReport:
        """Nothing that can be applied waits any more, or the report says what is in the way.

        Raises:
            RetryableError: store or control is unavailable; attempts were given back.
        """
        total = MergeReport(state=MergeState.DRAINED)
        logs = self.journal.logs(data_source_id, model_id)
        while True:
            report = self._visit(logs)
            total = total.then(report)
            # Once more after each visit: whoever found its lock taken has left what it came for.
            before, logs = logs, self.journal.logs(data_source_id, model_id)
            if report.batches == 0 and _ends(logs) == _ends(before):
                return total

    def recognise_restored(self, data_source_id: DataSourceId, model_id: ModelId) -> None:
        """Logs whose store or control was restored from a backup have begun anew, though nothing waits.

        Looks without the lock first, so that a sweep of many stores disturbs none; what looks
        wrong is looked at again under it.
        """
        catalogue = self.catalogue()
        applied = self.stores.open(data_source_id).applied(catalogue.model(model_id))
        for feed_log in self.journal.logs(data_source_id, model_id):
            mark = applied.get(feed_log.feed_id)
            if self.standing_of(feed_log, mark).restored is not None:
                _LogRun(step=self, catalogue=catalogue, feed_log=feed_log).run()

    def standing_of(self, feed_log: FeedLog, applied: Applied | None) -> Standing:
        return standing(feed_log, applied, lambda seq: self.journal.batch_at(feed_log, seq))

    def _visit(self, logs: Sequence[FeedLog]) -> MergeReport:
        """One run of each log of the model; what is in the way of one is not in that of others."""
        total = MergeReport(state=MergeState.DRAINED)
        catalogue = self.catalogue()
        for feed_log in logs:
            if feed_log.seq > feed_log.merged_seq:
                total = total.beside(_LogRun(step=self, catalogue=catalogue, feed_log=feed_log).run())
        return total


def _ends(logs: Sequence[FeedLog]) -> dict[LogId, int]:
    return {feed_log.log_id: feed_log.seq for feed_log in logs}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """What a transaction did, to be told to control once it is committed.

    Attributes:
        merged: batches that are in the store now.
        missing: keys that the feed shall fetch were asked for.
        restored: why the log must begin anew, None when it goes on.
    """

    report: MergeReport
    merged: tuple[BatchId, ...] = ()
    missing: bool = False
    restored: tuple[FeedLog, str] | None = None


@dataclass(slots=True, kw_only=True)
class _LogRun:
    """One transaction's worth of one log."""

    step: MergeStep
    catalogue: Catalogue
    feed_log: FeedLog
    attempted: Sequence[WaitingBatch] = ()
    """Batches whose attempt is counted, as they were before."""

    @property
    def model(self) -> ModelShape:
        return self.catalogue.model(self.model_id)

    @property
    def model_id(self) -> ModelId:
        plan = self.catalogue.feed(self.feed_log.source_id, self.feed_log.app_id)
        return plan.source.model

    def run(self) -> MergeReport:
        started = self.step.clock.monotonic()
        try:
            report = self._tried_whole_then_alone()
        except RetryableError:
            self._give_back()
            raise
        if report.batches:
            duration = self.step.clock.monotonic() - started
            metrics.MERGE_DURATION.labels(model=self.model.id).observe(duration)
        return report

    def _tried_whole_then_alone(self) -> MergeReport:
        """A run that was refused is tried by its first batch alone."""
        try:
            return self._committed(single=False)
        except DataRejectedError as error:
            if len(self.attempted) == 1:
                return self._refused(error)
        self._give_back()
        try:
            return self._committed(single=True)
        except DataRejectedError as error:
            return self._refused(error)

    def _give_back(self) -> None:
        self.step.journal.give_back_attempt([batch.id for batch in self.attempted])
        self.attempted = ()

    def _refused(self, error: DataRejectedError) -> MergeReport:
        """A batch that is refused alone backs off, longer each time, and with it the later ones of this
        log, nothing else."""
        (batch,) = self.attempted
        delay_s = backoff_s(batch.attempts + 1, self.step.random)
        self.step.journal.back_off([batch.id], str(error), delay_s=delay_s)
        log.error(
            "batch refused",
            feed=self.feed_log.feed_id,
            source=self.feed_log.source_id,
            batch=batch.id,
            delay_s=round(delay_s, 1),
            error=str(error),
        )
        return blocked(self.feed_log.source_id, str(error))

    def _committed(self, *, single: bool) -> MergeReport:
        """The run is in the store, and then control knows it."""
        store = self.step.stores.open(self.feed_log.data_source_id)
        with store.merging(self.model) as transaction:
            if transaction is None:
                return MergeReport(state=MergeState.LOCKED)
            tried = self._tried(transaction, single=single)
        if tried.restored is not None:
            self._begin_anew(*tried.restored)
        if tried.merged:
            self.step.journal.mark_merged(tried.merged, rows_changed=tried.report.counts.changed)
        if tried.missing:
            self.step.nudge.poll(self.feed_log.feed_id)
        _count(self.model.id, tried.report.counts)
        return tried.report

    def _begin_anew(self, feed_log: FeedLog, reason: str) -> None:
        log.warning(
            "log begins anew",
            feed=feed_log.feed_id,
            source=feed_log.source_id,
            data_source=feed_log.data_source_id,
            reason=reason,
        )
        if self.step.journal.begin_new_log(feed_log, reason):
            self.step.nudge.poll(feed_log.feed_id)

    def _tried(self, transaction: MergeTransaction, *, single: bool) -> _Tried:
        # Read again now that the lock is held: what was read before may be stale.
        logs = self.step.journal.logs(self.feed_log.data_source_id, self.model.id)
        feed_log = next((x for x in logs if x.feed_id == self.feed_log.feed_id), None)
        if feed_log is None:
            return _Tried(report=MergeReport(state=MergeState.DRAINED))
        where = self.step.standing_of(feed_log, transaction.applied().get(feed_log.feed_id))
        if where.restored is not None:
            report = blocked(feed_log.source_id, f"its log begins anew: {where.restored}")
            return _Tried(report=report, restored=(feed_log, where.restored))
        waiting = self._waiting(feed_log, feed_log.merged_seq, single=single)
        if not waiting and where.applied_seq > feed_log.merged_seq:
            # Who applied them has told control since the logs were read: what follows them may still wait.
            waiting = self._waiting(feed_log, where.applied_seq, single=single)
        return self._apply_waiting(transaction, feed_log, waiting, where.applied_seq)

    def _waiting(self, feed_log: FeedLog, after_seq: int, *, single: bool) -> tuple[WaitingBatch, ...]:
        return self.step.journal.waiting(
            feed_log,
            after_seq=after_seq,
            max_batches=1 if single else self.step.run_batches,
            max_bytes=self.step.run_bytes,
        )

    def _apply_waiting(
        self,
        transaction: MergeTransaction,
        feed_log: FeedLog,
        waiting: Sequence[WaitingBatch],
        applied_seq: int,
    ) -> _Tried:
        done = tuple(b.id for b in waiting if b.seq <= applied_seq)
        if done:
            # Applied by a worker that died before it told control.
            report = MergeReport(state=MergeState.DRAINED, batches=len(done))
            return _Tried(report=report, merged=done)
        if feed_log.seq == applied_seq:
            return _Tried(report=MergeReport(state=MergeState.DRAINED))
        if not waiting:
            return _Tried(report=self._held_up(feed_log, applied_seq + 1))
        contract = transaction.contract()
        # Tables and definitions may not be of one apply. Merging with the old shape of any source of the
        # model would leave out what a new one has staged; the sweeper comes back.
        fits = contract == self.catalogue.contract(self.model.id)
        run = _of_shape(waiting, contract.get(feed_log.source_id)) if fits else []
        if not run:
            log.info("merge waits for apply", model=self.model.id, source=feed_log.source_id)
            return _Tried(report=blocked(feed_log.source_id, WAITS_FOR_APPLY))
        return self._apply_run(transaction, feed_log, run)

    def _held_up(self, feed_log: FeedLog, seq: int) -> MergeReport:
        """Why the next batch of a log is not given out, though only who holds the lock may merge it."""
        reason = self.step.journal.back_off_reason(feed_log, seq)
        if reason is not None:
            return blocked(feed_log.source_id, reason)
        logs = self.step.journal.logs(feed_log.data_source_id, self.model.id)
        if feed_log.log_id in _ends(logs):
            raise InvariantError(f"log {feed_log.log_id} has no batch {seq}")
        return MergeReport(state=MergeState.DRAINED)  # it was ended meanwhile

    def _apply_run(
        self, transaction: MergeTransaction, feed_log: FeedLog, run: Sequence[WaitingBatch]
    ) -> _Tried:
        self.step.journal.count_attempt([b.id for b in run])
        self.attempted = run
        payloads = [self.step.journal.payload(b.id) for b in run]
        plan = self.catalogue.feed(feed_log.source_id, feed_log.app_id)
        scope = FeedScope(
            feed_id=feed_log.feed_id,
            app_id=feed_log.app_id,
            source=self.model.source(feed_log.source_id),
            customer=plan.customer,
        )
        tables = [payload.decode(p) for p in payloads if p is not None]
        if len(tables) < len(run):  # its log was ended meanwhile
            raise LeaseLostError(f"batches of log {feed_log.log_id} are gone")
        applied = self._apply(transaction, scope, run, tables)
        counts = applied.counts + transaction.recompute()
        last = run[-1]
        transaction.mark_applied(feed_log.feed_id, Applied(last.log_id, last.seq, last.id))
        report = MergeReport(
            state=MergeState.DRAINED,
            counts=counts,
            batches=len(run),
            rows=sum(b.rows for b in run),
            held=applied.held,
        )
        return _Tried(report=report, merged=tuple(b.id for b in run), missing=bool(applied.missing))

    def _apply(
        self,
        transaction: MergeTransaction,
        scope: FeedScope,
        run: Sequence[WaitingBatch],
        tables: Sequence[pa.Table],
    ) -> KeysOutcome:
        total = _outcome(MergeCounts())
        for kind, group in groupby(zip(run, tables, strict=True), lambda pair: _kind(pair[0])):
            pairs = list(group)
            if kind is BatchKind.ROWS:
                rows = pa.concat_tables([table for _, table in pairs])
                load = all(batch.kind is BatchKind.LOAD for batch, _ in pairs)
                hint = BatchKind.LOAD if load else BatchKind.ROWS
                total = _added(total, _outcome(transaction.apply_rows(scope, rows, kind=hint)))
                continue
            for batch, table in pairs:
                total = _added(total, self._apply_one(transaction, scope, batch, table))
        if total.missing:
            # Asked for before the target commits: a crash asks for too much, never too little.
            self.step.journal.request_keys(scope.feed_id, total.missing)
        return total

    def _apply_one(
        self,
        transaction: MergeTransaction,
        scope: FeedScope,
        batch: WaitingBatch,
        table: pa.Table,
    ) -> KeysOutcome:
        if batch.kind is BatchKind.KEYS:
            return transaction.apply_keys(scope, table, key_chunk(batch.meta))
        customer, epoch = str(batch.meta["customer"]), int(batch.meta["binding_epoch"])
        return _outcome(transaction.drop_customer(scope, customer, epoch))


def _outcome(counts: MergeCounts) -> KeysOutcome:
    return KeysOutcome(missing=(), removed=0, held=0, counts=counts)


def _added(total: KeysOutcome, outcome: KeysOutcome) -> KeysOutcome:
    return KeysOutcome(
        missing=total.missing + outcome.missing,
        removed=total.removed + outcome.removed,
        held=max(total.held, outcome.held),
        counts=total.counts + outcome.counts,
    )


def _count(model: ModelId, counts: MergeCounts) -> None:
    for result in ("inserted", "updated", "deleted"):
        metrics.ROWS_MERGED.labels(model=model, result=result).inc(getattr(counts, result))
