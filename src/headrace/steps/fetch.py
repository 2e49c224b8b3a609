"""Poll one feed: what changed at its source is in the journal, and the position is after it.

The order is load-bearing: lease, fence, snapshot, journal. Each page's batches and the position are
written in one transaction which checks the lease, so that a reader who lost it writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import uuid4

from headrace import logs, metrics, traces
from headrace.domain.schedule import next_due
from headrace.domain.vocabulary import FeedId, RunId, SourceId
from headrace.errors import (
    ErrorCode,
    HeadraceError,
    InvariantError,
    LeaseLostError,
    RetryableError,
    SourceDriftError,
    with_code,
)
from headrace.ports import (
    ClaimedFeed,
    Clock,
    Definitions,
    Feeds,
    MergeSoon,
    NextPoll,
    Nudge,
    PollOutcome,
    Readers,
    Routes,
    merges_nothing,
)
from headrace.steps.feed_writer import FeedWriter
from headrace.steps.lease import Keeper
from headrace.steps.limits import Limits, Progress, no_progress
from headrace.steps.rest import Rests
from headrace.steps.stream import Kept
from headrace.steps.visit import Visit

log = logs.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PollReport:
    """What one poll did.

    Attributes:
        held: False when another worker holds the feed, or it is paused: nothing was read.
        complete: the source was read to its end; False when it stopped early (backpressure, error).
        again: somebody asked for another poll meanwhile.
        rejected, invalid: rows that were set aside; rows kept with a value that did not fit.
        error: why it failed, for a person; None when it did not.
    """

    feed_id: FeedId
    source_id: SourceId | None = None
    held: bool = True
    complete: bool = True
    again: bool = False
    rows_read: int = 0
    batches: int = 0
    rejected: int = 0
    invalid: int = 0
    error: str | None = None
    retryable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchStep:
    """Reads feeds into the journal."""

    feeds: Feeds
    routes: Routes
    readers: Readers
    catalogue: Definitions
    nudge: Nudge
    clock: Clock
    limits: Limits
    keeper: Keeper
    stopping: Callable[[], bool]
    """The process is asked to stop: a poll ends after the page that it is at."""
    merge_soon: MergeSoon = merges_nothing
    kept: Kept = field(default_factory=dict)
    rests: Rests = field(default_factory=dict)

    def poll(self, feed_id: FeedId, *, trigger: str, progress: Progress = no_progress) -> PollReport:
        """The feed is read to its end, or the report says why not. Never raises for what concerns one
        feed alone; raises ControlUnavailableError, for then nothing can be noted.

        Args:
            trigger: who polls: schedule (a worker), sync, reconcile, verify, replay or backfill.
        """
        claimed = self.feeds.claim(feed_id, lease_s=self.limits.lease_s)
        if claimed is None:
            metrics.SCHEDULE_SKIPPED.labels(reason="running").inc()
            return PollReport(feed_id=feed_id, held=False)
        metrics.begin_at_zero(claimed.source_id)
        poll = _Poll(claimed, RunId(str(uuid4())), _begun_by(claimed, trigger), self.clock.monotonic())
        with (
            logs.context(feed=feed_id, source=claimed.source_id, run=poll.run_id),
            _span(poll),
        ):
            try:
                visit, error = self._visited(poll, progress)
            except Exception:
                # A bug is loud, but it must not keep the feed from others until the lease runs out.
                bug = InvariantError("a bug of Headrace ended the poll; its log has the traceback")
                self._release(poll, None, bug)
                raise
            again = self._release(poll, visit, error)
            if visit is not None:
                traces.note(rows=visit.writer.rows_read, batches=visit.writer.batches)
            if error is not None:
                traces.failed(error)
        self._measure(poll, visit, error)
        complete = _is_complete(visit, error)
        return PollReport(
            feed_id=feed_id,
            source_id=claimed.source_id,
            complete=complete,
            again=again or not complete,
            rows_read=visit.writer.rows_read if visit else 0,
            batches=visit.writer.batches if visit else 0,
            rejected=visit.writer.rejected if visit else 0,
            invalid=visit.writer.invalid if visit else 0,
            error=with_code(error) if error else None,
            retryable=isinstance(error, RetryableError),
        )

    def _visited(self, poll: _Poll, progress: Progress) -> tuple[Visit | None, HeadraceError | None]:
        visit = None
        try:
            with self._visiting(poll, progress) as visit:
                visit.run()
        except LeaseLostError as error:
            log.warning("lease lost", error=str(error))
            return visit, error
        except SourceDriftError as drift:
            log.error("the source no longer fits its definition", error=str(drift), code=drift.code)
            return visit, SourceDriftError(
                f"{drift}; {_mend(poll.claimed.source_id)}", code=ErrorCode(drift.code)
            )
        except HeadraceError as error:
            log.error("poll failed", error=str(error), code=error.code, kind=type(error).__name__)
            return visit, error
        return visit, None

    @contextmanager
    def _visiting(self, poll: _Poll, progress: Progress) -> Iterator[Visit]:
        claimed = poll.claimed
        catalogue = self.catalogue(at_least=claimed.definition_version)
        plan = catalogue.feed(claimed.source_id, claimed.app_id)
        with (
            self.keeper.kept(claimed.lease),
            self.readers.lend(claimed.app_id) as reader,
        ):
            writer = FeedWriter(
                claimed=claimed,
                plan=replace(plan, read=self.limits.bounded(plan.read)),
                feeds=self.feeds,
                routes=self.routes,
                nudge=self.nudge,
                merge_soon=self.merge_soon,
                limits=self.limits,
                stopping=self.stopping,
                run_id=poll.run_id,
                trigger=poll.trigger,
                progress=progress,
                state=claimed.state,
                cut=set(claimed.cut),
            )
            yield Visit(writer=writer, reader=reader, clock=self.clock, kept=self.kept, rests=self.rests)

    def _release(self, poll: _Poll, visit: Visit | None, error: HeadraceError | None) -> bool:
        lease, complete = poll.claimed.lease, _is_complete(visit, error)
        outcome = PollOutcome(
            run_id=poll.run_id,
            trigger=poll.trigger,
            succeeded=error is None,
            complete=complete,
            error=with_code(error) if error else None,
            retryable=isinstance(error, RetryableError),
            stop=isinstance(error, SourceDriftError),
            has_run=visit is None or visit.writer.has_run,
            next=self._next(poll) if complete else None,
            memory=visit.writer.memory() if visit else None,
        )
        again = self.feeds.release(lease, outcome)
        if again:
            self.nudge.poll(lease.feed_id)
        return again

    def _next(self, poll: _Poll) -> NextPoll:
        """When the feed is due, by the control database's clock as it is now."""
        claimed = poll.claimed
        now = claimed.claimed_at + timedelta(seconds=self.clock.monotonic() - poll.started)
        every_s, cron = claimed.every_s, claimed.cron
        due = next_due(claimed.lease.feed_id, every_s=every_s, cron=cron, after=now)
        return NextPoll(every_s=every_s, cron=cron, at=due)

    def _measure(self, poll: _Poll, visit: Visit | None, error: HeadraceError | None) -> None:
        source_id, outcome = poll.claimed.source_id, "succeeded" if error is None else "failed"
        metrics.RUNS.labels(source=source_id, trigger=poll.trigger, outcome=outcome).inc()
        metrics.RUN_DURATION.labels(source=source_id).observe(self.clock.monotonic() - poll.started)
        if visit is not None:
            metrics.ROWS_FETCHED.labels(source=source_id).inc(visit.writer.rows_read)


@dataclass(frozen=True, slots=True)
class _Poll:
    """A poll under way. `started`: monotonic seconds, when its lease had been taken."""

    claimed: ClaimedFeed
    run_id: RunId
    trigger: str
    started: float


def _is_complete(visit: Visit | None, error: HeadraceError | None) -> bool:
    return error is None and visit is not None and visit.complete


def _span(poll: _Poll) -> AbstractContextManager[object]:
    of = poll.claimed
    return traces.span(
        "poll",
        source=of.source_id,
        app=of.app_id,
        feed=of.lease.feed_id,
        run=poll.run_id,
        trigger=poll.trigger,
    )


def _begun_by(claimed: ClaimedFeed, trigger: str) -> str:
    """What a poll was begun by: a reconciliation that is asked for or due, whoever polls; else what the
    caller says, unless a worker was told to poll a feed that is not due: then somebody asked for it."""
    if claimed.reconcile is not None:
        return "reconcile"
    return trigger if trigger != "schedule" or claimed.due else "trigger"


def _mend(source_id: SourceId) -> str:
    return (
        "the feed has stopped, and loses nothing meanwhile: mend the source and run `headrace resume "
        f"{source_id}`, or change its definition and run `headrace apply`"
    )
