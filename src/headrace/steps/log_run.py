"""One run of one log: the next batches are in the store in one transaction, or it is known why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import takewhile
from typing import Final

import pyarrow as pa

from headrace import logs, metrics, traces
from headrace.domain.bisection import DEATHS, Bisection, Phase
from headrace.domain.finding import FindingCode
from headrace.domain.schedule import backoff_s
from headrace.domain.vocabulary import BatchId, BatchKind, LogId, SourceId
from headrace.errors import (
    ConfigurationError,
    DataRejectedError,
    ErrorCode,
    InvariantError,
    RetryableError,
    with_code,
)
from headrace.ports import (
    Applied,
    FeedLog,
    KeyChunk,
    MergeTransaction,
    RejectedRow,
    WaitingBatch,
)
from headrace.steps.applying import Applying
from headrace.steps.chunk import eased, key_chunk
from headrace.steps.merge_report import UNFINISHED, MergeReport, MergeState, blocked
from headrace.steps.merging import Merging
from headrace.steps.rejection import rejected_rows
from headrace.steps.taking_apart import (
    TakingApart,
    begun,
    can_be_taken_apart,
    has_killed,
    in_one_transaction,
    is_taken_apart,
)
from headrace.steps.tried import Tried

log = logs.get(__name__)

WAITS_FOR_APPLY: Final = (
    f"its tables and definitions are not of one apply; run `headrace apply` [{FindingCode.TABLES_BEHIND}]"
)
_ONE_TRANSACTION_S: Final = 5.0
"""So long, in seconds, a transaction takes more of what comes."""
KILLS: Final = (
    f"workers died of it {DEATHS} times or more, and it cannot be taken apart [{ErrorCode.BATCH_REFUSED}]"
)


def ends(logs: Sequence[FeedLog]) -> dict[LogId, int]:
    """Up to where each log is journalled."""
    return {feed_log.log_id: feed_log.seq for feed_log in logs}


def _of_shape(batches: Sequence[WaitingBatch], fingerprint: str | None) -> list[WaitingBatch]:
    """The longest run from the start that was made for the shape that the store has."""
    return list(takewhile(lambda b: b.shape_fingerprint == fingerprint, batches))


@dataclass(slots=True, kw_only=True)
class LogRun:
    """One transaction's worth of one log."""

    step: Merging
    applying: Applying
    attempted: Sequence[WaitingBatch] = ()
    """Batches whose attempt is counted, as they were before."""
    suspect: BatchId | None = None
    """The batch that was refused alone: it is taken apart."""
    apart: TakingApart | None = None
    ended: WaitingBatch | None = None
    """The last batch of a load, applied before, that is being ended."""
    eased: dict[BatchId, KeyChunk] = field(default_factory=dict)
    """What is asked of a batch of keys that was refused, instead of its own chunk."""
    traced: ExitStack = field(default_factory=ExitStack)
    """Closed after the commit of what is tried."""

    @property
    def feed_log(self) -> FeedLog:
        return self.applying.feed_log

    def run(self) -> MergeReport:
        started = self.step.clock.monotonic()
        try:
            report = self._tried_whole_then_alone()
        except (RetryableError, ConfigurationError):
            self._give_back()
            raise
        if report.batches:
            duration = self.step.clock.monotonic() - started
            metrics.MERGE_DURATION.labels(model=self.applying.model.id).observe(duration)
        return report

    # --- tries ----------------------------------------------------------------------------------

    def _tried_whole_then_alone(self) -> MergeReport:
        """A run that was refused is tried by its first batch alone; a batch that is, is taken apart."""
        try:
            return self._committed(single=False)
        except DataRejectedError as error:
            if len(self.attempted) <= 1:
                return self._refused(error)
        self._give_back()
        return self._tried_alone()

    def _tried_alone(self) -> MergeReport:
        try:
            return self._committed(single=True)
        except DataRejectedError as error:
            return self._refused(error)

    def _give_back(self) -> None:
        self.step.journal.give_back_attempt([batch.id for batch in self.attempted])
        self.attempted = ()
        if self.apart is not None:
            self.apart.take_back()

    def _refused(self, error: DataRejectedError) -> MergeReport:
        """A batch was refused alone, or some rows of it, or what was left of it without those."""
        if self.ended is not None:
            return self._backs_off(self.ended, with_code(error), attempts=self.ended.attempts)
        if self.apart is not None and not self.attempted:
            self.apart.answer(str(error))
            return UNFINISHED
        (batch,) = self.attempted
        if self.apart is None and can_be_taken_apart(batch):
            self.suspect, self.attempted = batch.id, ()
            return self._tried_alone()
        if batch.kind is BatchKind.KEYS and self._ease(batch, str(error)):
            self._give_back()  # it was answered: no worker died of it
            return self._tried_alone()
        return self._backs_off(batch, with_code(error), attempts=batch.attempts + 1)

    def _ease(self, batch: WaitingBatch, reason: str) -> bool:
        """Less is asked of the batch from now on: what cannot be removed at once is deleted as rows, of which
        those that are refused are set aside. False: there is nothing left to leave out."""
        less = eased(self.eased.get(batch.id) or key_chunk(batch.meta))
        if less is None:
            return False
        self.eased[batch.id] = less
        left_out = "removals" if less.repairs or not batch.meta.get("repairs") else "removals and repairs"
        log.warning(
            "end of a reconciliation refused",
            feed=self.feed_log.feed_id,
            source=self.feed_log.source_id,
            batch=batch.id,
            left_out=left_out,
            error=reason,
        )
        return True

    def _backs_off(self, batch: WaitingBatch, reason: str, *, attempts: int) -> MergeReport:
        """The batch waits, longer each time, and with it the later ones of this log, nothing else."""
        journal, delay_s = self.step.journal, backoff_s(attempts, self.step.random)
        given_up = Bisection(rows=batch.rows).given_up(reason, attempts=attempts)
        journal.note_bisection(batch.id, given_up.as_json())
        journal.back_off([batch.id], reason, delay_s=delay_s)
        log.error(
            "batch refused",
            feed=self.feed_log.feed_id,
            source=self.feed_log.source_id,
            batch=batch.id,
            delay_s=round(delay_s, 1),
            error=reason,
        )
        return blocked(self.feed_log.source_id, reason)

    def _committed(self, *, single: bool) -> MergeReport:
        """The run is in the store, and then control knows it."""
        store = self.step.stores.open(self.feed_log.data_source_id)
        with ExitStack() as self.traced, store.merging(self.applying.model) as transaction:
            if transaction is None:
                return MergeReport(state=MergeState.LOCKED)
            tried = self._tried(transaction, single=single)
        visible_at = self.step.clock.now()
        if tried.restored is not None:
            self._begin_anew(*tried.restored)
        if tried.superseded:
            self.step.journal.resolve(tried.superseded)
        if tried.merged:
            self.step.journal.mark_merged(tried.merged, rows_changed=tried.report.counts.changed)
        if tried.missing:
            self.step.nudge.poll(self.feed_log.feed_id)
        self._count(tried, visible_at)
        return tried.report

    def _count(self, tried: Tried, visible_at: datetime) -> None:
        for result in ("inserted", "updated", "deleted", "unchanged"):
            records = getattr(tried.report.counts, result)
            metrics.ROWS_MERGED.labels(model=self.applying.model.id, result=result).inc(records)
        if tried.report.counts.changed:  # what was there already tells of no change
            freshness = metrics.FRESHNESS.labels(source=self.feed_log.source_id)
            for batch in self.attempted:
                if batch.changed_at is not None and batch.id in tried.merged:
                    freshness.observe(max(0.0, (visible_at - batch.changed_at).total_seconds()))
        for row in tried.rejected:
            metrics.ROWS_REJECTED.labels(source=self.feed_log.source_id, reason=row.code).inc()

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

    # --- under the lock -------------------------------------------------------------------------

    def _tried(self, transaction: MergeTransaction, *, single: bool) -> Tried:
        # Read again now that the lock is held: what was read before may be stale.
        logs = self.step.journal.logs(self.feed_log.data_source_id, self.applying.model.id)
        feed_log = next((x for x in logs if x.feed_id == self.feed_log.feed_id), None)
        if feed_log is None:
            return Tried(report=MergeReport(state=MergeState.DRAINED))
        where = self.step.standing_of(feed_log, transaction.applied().get(feed_log.feed_id))
        if where.restored is not None:
            report = blocked(feed_log.source_id, f"its log begins anew: {where.restored}")
            return Tried(report=report, restored=(feed_log, where.restored))
        waiting = self._waiting(feed_log, feed_log.merged_seq, single=single)
        if not waiting and where.applied_seq > feed_log.merged_seq:
            # Who applied them has told control since the logs were read: what follows them may still wait.
            waiting = self._waiting(feed_log, where.applied_seq, single=single)
        return self._apply_waiting(transaction, feed_log, waiting, where.applied_seq, single=single)

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
        *,
        single: bool,
    ) -> Tried:
        done = [b for b in waiting if b.seq <= applied_seq]
        if done and done[-1].seq == applied_seq and done[-1].kind is BatchKind.LOAD and transaction.loads():
            return self._go_on_loading(transaction, feed_log, done, single=single)
        if done:
            # Applied by a worker that died before it told control.
            report = MergeReport(state=MergeState.DRAINED, batches=len(done))
            before = self.applying.superseded_before(done)
            return Tried(report=report, merged=tuple(b.id for b in done), superseded=before)
        if feed_log.seq == applied_seq:
            return Tried(report=MergeReport(state=MergeState.DRAINED))
        if not waiting:
            return Tried(report=self._held_up(feed_log, applied_seq + 1))
        return self._try_run(transaction, feed_log, waiting, single=single)

    def _go_on_loading(
        self, transaction: MergeTransaction, feed_log: FeedLog, done: Sequence[WaitingBatch], *, single: bool
    ) -> Tried:
        """What follows the applied batches of a load is applied too, and they are merged; or they are once
        the load has ended; until then control keeps them as pending, so that somebody comes to end it."""
        merged = tuple(b.id for b in done)
        following = self._waiting(feed_log, done[-1].seq, single=single)
        if following:
            tried = self._try_run(transaction, feed_log, following, single=single)
            if not tried.did_something:
                return tried
            report = replace(tried.report, batches=tried.report.batches + len(done))
            return replace(tried, merged=(*merged, *tried.merged), report=report)
        if feed_log.loads and not done[-1].is_stale:
            return Tried(report=MergeReport(state=MergeState.DRAINED))
        if not self._fits(transaction.contract()):
            return self._waits_for_apply()
        self.ended = done[-1]
        transaction.end_load()
        counts = transaction.recompute()
        report = MergeReport(state=MergeState.DRAINED, counts=counts, batches=len(done))
        return Tried(report=report, merged=merged)

    def _fits(self, contract: Mapping[SourceId, str]) -> bool:
        return contract == self.applying.catalogue.contract(self.applying.model.id)

    def _waits_for_apply(self) -> Tried:
        log.info("merge waits for apply", model=self.applying.model.id, source=self.feed_log.source_id)
        return Tried(report=blocked(self.feed_log.source_id, WAITS_FOR_APPLY))

    def _try_run(
        self,
        transaction: MergeTransaction,
        feed_log: FeedLog,
        waiting: Sequence[WaitingBatch],
        *,
        single: bool,
    ) -> Tried:
        """What waits is tried, and what has come meanwhile; all that it touches is recomputed once."""
        until = self.step.clock.monotonic() + _ONE_TRANSACTION_S
        tried = self._try_next(transaction, feed_log, waiting)
        while tried.report.rows and not single and len(self.attempted) < self.step.together:
            if self.step.clock.monotonic() > until:
                break
            last = self.attempted[-1]
            following = self._waiting(feed_log, last.seq, single=False)
            if not following or len(in_one_transaction([last, following[0]])) == 1:
                break
            more = self._try_next(transaction, feed_log, following)
            if not more.did_something:
                break
            tried = tried.followed_by(more, between=last.id)
        return tried.and_updated(transaction.recompute()) if tried.did_something else tried

    def _try_next(
        self, transaction: MergeTransaction, feed_log: FeedLog, waiting: Sequence[WaitingBatch]
    ) -> Tried:
        contract = transaction.contract()
        # Tables and definitions may not be of one apply. Merging with the old shape of any source of the
        # model would leave out what a new one has staged; the sweeper comes back.
        fits = self._fits(contract)
        run = _of_shape(waiting, contract.get(feed_log.source_id)) if fits else []
        if not run:
            return self._waits_for_apply()
        return self._apply_or_take_apart(transaction, in_one_transaction(run))

    def _held_up(self, feed_log: FeedLog, seq: int) -> MergeReport:
        """Why the next batch of a log is not given out, though only who holds the lock may merge it."""
        reason = self.step.journal.back_off_reason(feed_log, seq)
        if reason is not None:
            return blocked(feed_log.source_id, reason)
        logs = self.step.journal.logs(feed_log.data_source_id, self.applying.model.id)
        if feed_log.log_id in ends(logs):
            raise InvariantError(f"log {feed_log.log_id} has no batch {seq}")
        return MergeReport(state=MergeState.DRAINED)  # it was ended meanwhile

    def _apply_or_take_apart(self, transaction: MergeTransaction, run: Sequence[WaitingBatch]) -> Tried:
        batch = run[0]
        if is_taken_apart(batch) or batch.id == self.suspect:
            return self._take_apart(transaction, batch)
        if not has_killed(batch):
            return self._apply(transaction, run)
        if can_be_taken_apart(batch):
            return self._take_apart(transaction, batch)
        return Tried(report=self._backs_off(batch, KILLS, attempts=batch.attempts))

    def _take_apart(self, transaction: MergeTransaction, batch: WaitingBatch) -> Tried:
        """Look for the rows that are refused; when they are found, the others are applied."""
        rows = self.applying.last_events(batch)
        self.apart = TakingApart(
            journal=self.step.journal,
            clock=self.step.clock,
            batch=batch,
            rows=rows,
            apply=self.applying.apply_rows,
            bisection=begun(batch, rows),
        )
        bisection = self.apart.search(transaction)
        if bisection.phase is Phase.GIVEN_UP:
            return Tried(report=self._backs_off(batch, bisection.why, attempts=batch.attempts + 1))
        if not bisection.ended:
            return Tried(report=UNFINISHED)
        self.apart.begin()
        rejected = rejected_rows(rows, self.applying.scope.source, bisection.refused)
        rest = self.apart.some_rows(bisection.applied_rows)
        return self._apply_rest(transaction, batch, rest, rejected)

    def _apply_rest(
        self,
        transaction: MergeTransaction,
        batch: WaitingBatch,
        rows: pa.Table,
        rejected: tuple[RejectedRow, ...],
    ) -> Tried:
        """The batch is applied without the rejected rows."""
        self._attempt([batch])
        tried = self._applied(transaction, [batch], [rows])
        # Before the commit: a crash in between sets rows aside that the repeated batch sets aside again.
        self.step.journal.set_aside(batch.id, rejected)
        return replace(tried, rejected=rejected, report=replace(tried.report, rejected=len(rejected)))

    def _apply(self, transaction: MergeTransaction, run: Sequence[WaitingBatch]) -> Tried:
        self._attempt(run)
        return self._applied(transaction, run, [self.applying.events(b) for b in run])

    def _attempt(self, run: Sequence[WaitingBatch]) -> None:
        """Counted before trying: a worker that dies has tried."""
        self.step.journal.count_attempt([b.id for b in run])
        self.attempted = (*self.attempted, *run)
        self.traced.enter_context(self._span(run))

    def _span(self, run: Sequence[WaitingBatch]) -> AbstractContextManager[object]:
        """Goes on from what journalled the first batch; the others' traces are linked."""
        return traces.span(
            "merge",
            parent=run[0].traceparent,
            links=[batch.traceparent for batch in run[1:]],
            source=self.feed_log.source_id,
            model=self.applying.model.id,
            data_source=self.feed_log.data_source_id,
            batches=len(run),
            events=sum(batch.rows for batch in run),
        )

    def _applied(
        self, transaction: MergeTransaction, run: Sequence[WaitingBatch], tables: Sequence[pa.Table]
    ) -> Tried:
        applied = self.applying.apply(transaction, run, tables, self.eased)
        last = run[-1]
        # The last batch of a load stays pending in control until it is known whether another follows.
        goes_on = last.kind is BatchKind.LOAD and transaction.loads()
        if not goes_on:
            transaction.end_load()
        merged = tuple(b.id for b in (run[:-1] if goes_on else run))
        transaction.mark_applied(self.feed_log.feed_id, Applied(last.log_id, last.seq, last.id))
        report = MergeReport(
            state=MergeState.DRAINED,
            counts=applied.counts,
            batches=len(merged),
            unfinished=goes_on,
            rows=sum(table.num_rows for table in tables),
            held=applied.held,
        )
        return Tried(
            report=report,
            merged=merged,
            missing=bool(applied.missing or applied.spared),
            superseded=self.applying.superseded(run, tables),
        )
