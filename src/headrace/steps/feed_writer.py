"""What one visit writes: every page of a feed reaches the journal here, and only here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypedDict, Unpack

import pyarrow as pa

from headrace import logs, metrics, traces
from headrace.domain import digests
from headrace.domain.events import RejectCode
from headrace.domain.source_seen import SourceSeen
from headrace.domain.vocabulary import BatchKind, DataSourceId, FeedClass, RunId
from headrace.errors import RoutingChangedError
from headrace.ports import (
    ClaimedFeed,
    FeedMemory,
    FeedPlan,
    Feeds,
    FeedState,
    JournalEntry,
    MergeSoon,
    MoveProgress,
    NewBatch,
    Newcomer,
    Nudge,
    Reconciliation,
    RejectedRow,
    Routes,
)
from headrace.steps.limits import Limits, Progress
from headrace.steps.page import CutPage, cut, resolved, row_batches, seen_keys

log = logs.get(__name__)

_ROUTING_TRIES = 50
FRESH_ROWS = 1_000
"""As many rows of a visit, at most, are merged by the process that journalled them."""
_SPARED = 4
"""How many times its limit a data source may have waiting while others of the feed take more."""


class Noted(TypedDict, total=False):
    """What an entry of the journal may note beside batches and state (see `JournalEntry`)."""

    rejected: Sequence[RejectedRow]
    seen_keys: Sequence[str]
    vanished_keys: Sequence[str]
    unreadable: Sequence[str]
    answered_requests: Sequence[int]
    rows_read: int
    routing_version: int
    finished_reconcile: Reconciliation | None
    confirmed: bool
    asks_reconcile: bool
    newcomers: Sequence[Newcomer]
    move: MoveProgress | None
    changed_at: datetime | None


@dataclass(slots=True, kw_only=True)
class FeedWriter:
    """The feed's end of the journal during one visit, and what was written so far.

    Attributes:
        state: always what the journal has, but for the fence's memory (`remember`).
        promised: the feed's class and why it is not more, as this visit found them.
        seen: what is to be remembered of the source; noted with whatever is written next.
        open_rejected: keys (JSON arrays) of the feed's open rejected rows.
        unreadable: keys (JSON arrays) of the lines that this visit found to be no rows.
        cut: data sources for which nothing is journalled.
        has_run: something was journalled: there may be a run.
        unsaved: there is something to remember (`remember`) that is in no entry.
    """

    claimed: ClaimedFeed
    plan: FeedPlan
    feeds: Feeds
    routes: Routes
    nudge: Nudge
    merge_soon: MergeSoon
    limits: Limits
    stopping: Callable[[], bool]
    run_id: RunId
    trigger: str
    progress: Progress
    state: FeedState
    promised: tuple[FeedClass | None, str] = (None, "")
    seen: SourceSeen = field(default_factory=SourceSeen)
    open_rejected: frozenset[str] = field(default_factory=frozenset)
    unreadable: set[str] = field(default_factory=set)
    cut: set[DataSourceId] = field(default_factory=set)
    has_run: bool = False
    unsaved: bool = False
    rows_read: int = 0
    batches: int = 0
    rejected: int = 0
    invalid: int = 0

    def promise(self, feed_class: FeedClass, reason: str) -> None:
        """The control database has the class with its next entry, at once when it is another one; that it
        is less than before is told."""
        before = self.promised[0] or self.claimed.feed_class
        self.promised = feed_class, reason
        if feed_class is before:
            return
        if before is not None and feed_class.is_less_than(before):
            log.warning("the feed promises less", before=before, now=feed_class, reason=reason)
            metrics.CLASS_FALLS.labels(source=self.claimed.source_id).inc()
        self.append((), self.state)

    def journal(
        self,
        rows: pa.Table,
        state: FeedState,
        batches_of: Callable[[CutPage], Sequence[NewBatch]],
        *,
        finished: Reconciliation | None = None,
        move: MoveProgress | None = None,
        changed_at: datetime | None = None,
    ) -> None:
        """The rows are in the journal and the feed's state is `state`, in one transaction.

        Args:
            batches_of: makes the batches of a page that was cut by the routing of the moment; it is called
                again when routing changed before they were written.
            finished: the reconciliation that ends with this page.
            move: how far a move is read with this page.
            changed_at: see `JournalEntry`.
        """
        page = cut(rows, self.plan, self.routes)
        batches = batches_of(page)
        for _ in range(_ROUTING_TRIES):
            try:
                self.append(
                    batches,
                    state,
                    rejected=page.rejected,
                    seen_keys=seen_keys(page.accepted, self.plan, self.open_rejected),
                    rows_read=rows.num_rows,
                    routing_version=page.routing.version,
                    newcomers=tuple(page.routing.newcomers.values()),
                    finished_reconcile=finished,
                    move=move,
                    changed_at=changed_at,
                )
            except RoutingChangedError:
                # Mostly it changed for others: then only its version is another.
                routing = resolved(page.customers, self.plan, self.routes)
                if routing.leads_as(page.routing):
                    page = replace(page, routing=routing)
                else:
                    page = cut(rows, self.plan, self.routes)
                    batches = batches_of(page)
                continue
            self._count(page)
            return
        raise RoutingChangedError("routing changes faster than a page can be resolved")

    def journal_rows(
        self,
        rows: pa.Table,
        state: FeedState,
        kind: BatchKind = BatchKind.ROWS,
        *,
        changed_at: datetime | None = None,
    ) -> None:
        """The rows' events are in the journal, and `state` with them."""
        self.journal(rows, state, lambda page: row_batches(page, kind), changed_at=changed_at)

    def append(self, batches: Sequence[NewBatch], state: FeedState, **noted: Unpack[Noted]) -> None:
        """One transaction of the journal; then merges are nudged."""
        feed_class, reason = self.promised
        batches = [b for b in batches if b.data_source_id not in self.cut]
        finished = noted.get("finished_reconcile")
        if finished is not None and finished.full and finished.into is None:
            self.seen = replace(self.seen, restored=None)
        with _journalling(batches) as traceparent:
            entry = JournalEntry(
                run_id=self.run_id,
                trigger=self.trigger,
                state=state,
                batches=batches,
                feed_class=feed_class,
                class_reason=reason,
                source_seen=self.seen.as_text(),
                traceparent=traceparent,
                **noted,
            )
            self.feeds.append(self.claimed.lease, entry, lease_s=self.limits.lease_s)
            self.state, self.has_run, self.unsaved = state, True, False
            self.rows_read += entry.rows_read
            self.batches += len(batches)
            self.rejected += len(entry.rejected)
            self._tell_merges(batches)
        self.progress(self.claimed.source_id, entry.rows_read)

    def _tell_merges(self, batches: Sequence[NewBatch]) -> None:
        model = self.plan.source.model
        for target in dict.fromkeys(b.data_source_id for b in batches):
            if not (self._are_fresh(batches) and self.merge_soon(target, model)):
                self.nudge.merge(target, model)

    def _are_fresh(self, batches: Sequence[NewBatch]) -> bool:
        """They are few rows for one data source, and nothing that this feed journalled before waits, as far
        as is known: what has waited may have been tried, and is the merge worker's, who ends moves too."""
        return (
            not (self.claimed.has_pending or self.claimed.has_moves)
            and self.batches == len(batches) == 1
            and batches[0].kind is BatchKind.ROWS
            and batches[0].rows <= FRESH_ROWS
        )

    def remember(self, fence_state: str | None) -> None:
        """The fence's memory is noted with whatever is written next, or when the lease is given back."""
        self.state, self.unsaved = replace(self.state, fence_state=fence_state), True

    def memory(self) -> FeedMemory | None:
        """What is to be remembered and in no entry."""
        if not self.unsaved:
            return None
        feed_class, reason = self.promised
        return FeedMemory(
            fence_state=self.state.fence_state,
            source_seen=self.seen.as_text(),
            feed_class=feed_class,
            class_reason=reason,
        )

    def nudge_merges(self) -> None:
        """A load ends though no batch says so."""
        for target in self.written_to():
            self.nudge.merge(target, self.plan.source.model)

    def must_yield(self) -> bool:
        """The process stops, or the feed is to wait until merges have drained.

        While some data sources take more, it goes on for them; those that are over their limit are waited for
        when they have several times as much. The log of one that takes nothing is cut before.
        """
        if self.stopping():
            return True
        over = self.over_limit() - self.cut
        if not over:
            return False
        if over >= set(self.written_to()) - self.cut:
            return True
        over -= self._cut_stalled(over)
        return not over.isdisjoint(self.over_limit(times=_SPARED))

    def _cut_stalled(self, over: frozenset[DataSourceId]) -> frozenset[DataSourceId]:
        cut = self.feeds.cut_stalled(self.claimed.lease, over)
        for data_source_id in sorted(cut):
            log.warning("log cut: the data source takes no batches", data_source=data_source_id)
            metrics.LOGS_CUT.labels(source=self.claimed.source_id).inc()
        self.cut |= cut
        return cut

    def over_limit(self, *, times: int = 1) -> frozenset[DataSourceId]:
        """Data sources that have so many times more unmerged batches of the feed than they should."""
        return self.feeds.blocked_data_sources(
            self.claimed.lease.feed_id,
            max_batches=self.limits.max_batches * times,
            max_bytes=self.limits.max_bytes * times,
        )

    def written_to(self) -> tuple[DataSourceId, ...]:
        """Every data source that the feed has a log in."""
        return self.feeds.written_data_sources(self.claimed.lease.feed_id)

    def all_stale(self) -> FeedState:
        """The state once rows were journalled that may be of any part."""
        return replace(self.state, digests=digests.all_stale(self.state.digests))

    def _count(self, page: CutPage) -> None:
        for row in page.rejected:
            metrics.ROWS_REJECTED.labels(source=self.claimed.source_id, reason=row.code).inc()
        self.open_rejected |= {row.key for row in page.rejected}
        self.unreadable |= {row.key for row in page.rejected if row.code == RejectCode.UNREADABLE}
        self.invalid += page.invalid


@contextmanager
def _journalling(batches: Sequence[NewBatch]) -> Iterator[str | None]:
    """A span for an entry that has batches; gives what their merges go on from."""
    if not batches:
        yield None
        return
    with traces.span("journal", batches=len(batches), events=sum(batch.rows for batch in batches)):
        yield traces.carried()
