"""`headrace sync`: poll every feed to its end and merge, in this one process, then stop.

Reading and merging overlap: each feed is polled in a thread, each (data source, model) that was
nudged is drained in another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime

from headrace.domain.vocabulary import AppId, DataSourceId, FeedId, ModelId, SourceId
from headrace.errors import (
    HeadraceError,
    with_code,
)
from headrace.steps.catalogue import Target
from headrace.steps.fetch import PollReport
from headrace.steps.limits import CUT, Progress, no_progress
from headrace.steps.merge_report import MergeReport, MergeState
from headrace.wiring import Application

ROUNDS = 20
"""Polls of a feed in one sync, at most: each may find keys that another one asked for."""
LOCK_PAUSE_S = 0.05
LEASE_PAUSE_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedResult:
    """One feed's share of a sync. `error` is for a person, None when its source was read to the end;
    `paused`: why somebody paused it, so that it was not read."""

    feed_id: FeedId
    source_id: SourceId
    app_id: AppId
    rows_read: int = 0
    batches: int = 0
    rejected: int = 0
    invalid: int = 0
    error: str | None = None
    paused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """What a sync did, by feed and by (data source, model).

    Attributes:
        models: those of the feeds; merges of others are told, but do not make the sync fail.
        by_workers: batches that running workers merged meanwhile: `merges` lacks what they changed.
    """

    feeds: tuple[FeedResult, ...]
    merges: dict[Target, MergeReport]
    models: frozenset[ModelId]
    by_workers: Mapping[Target, int] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """A feed was not read to its end, or something of it waits to be merged."""
        return any(f.error for f in self.feeds) or any(
            self._waits(report) for (_, model), report in self.merges.items() if model in self.models
        )

    def _waits(self, report: MergeReport) -> bool:
        mine = {feed.source_id for feed in self.feeds}
        in_the_way = not report.blocked or not mine.isdisjoint(report.blocked)
        return report.state is MergeState.BLOCKED and in_the_way


def run_sync(
    app: Application,
    *,
    sources: Sequence[SourceId] = (),
    progress: Progress = no_progress,
    trigger: str = "sync",
) -> SyncReport:
    """Every feed (of these sources) was read to its end by a poll begun now, and every batch is merged.

    A feed or data source that fails does not stop the others: the report says so.
    """
    merging, began = _Merging(app), app.status.moment()
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="merge") as merge_pool:
        merging.pool = merge_pool
        with app.nudging(merging):
            app.recognise_restored()
            for target in app.targets():
                merging.merge(*target)
            feeds = _poll_all(app, _feeds_of(app, sources), merging, progress, trigger)
            read = {feed.source_id for feed in feeds}
            models = frozenset(p.source.model for p in app.catalogue().plans.values() if p.source.id in read)
            # Running workers may have read for us, and nudged others than us to merge it.
            for target in app.targets():
                if target[1] in models:
                    merging.merge(*target)
            merges = merging.finished()
            feeds = _cut(app, feeds)
    by_workers = _merged_by_workers(app, began, merges, models)
    return SyncReport(feeds=feeds, merges=merges, models=models, by_workers=by_workers)


def _merged_by_workers(
    app: Application, began: datetime, merges: Mapping[Target, MergeReport], models: frozenset[ModelId]
) -> dict[Target, int]:
    """Batches of these models that others than this sync merged since it began."""
    merged = {target: n for target, n in app.status.merged_since(began).items() if target[1] in models}
    others = {t: n - (merges[t].batches if t in merges else 0) for t, n in merged.items()}
    return {target: number for target, number in others.items() if number > 0}


def _feeds_of(app: Application, sources: Sequence[SourceId]) -> list[tuple[FeedId, SourceId, AppId]]:
    return [
        (feed.feed_id, feed.source_id, feed.app_id)
        for feed in app.status.feed_status()
        if not sources or feed.source_id in sources
    ]


def _poll_all(
    app: Application,
    feeds: Iterable[tuple[FeedId, SourceId, AppId]],
    merging: _Merging,
    progress: Progress,
    trigger: str,
) -> tuple[FeedResult, ...]:
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="fetch") as pool:
        running = [pool.submit(_poll, app, feed, merging, progress, trigger) for feed in feeds]
        try:
            return tuple(future.result() for future in running)
        except BaseException:
            # Ctrl-C: end after the pages that are being read, and give the leases back.
            app.stopping.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _poll(
    app: Application,
    feed: tuple[FeedId, SourceId, AppId],
    merging: _Merging,
    progress: Progress,
    trigger: str,
) -> FeedResult:
    """Poll until nothing more was asked of the feed, its merges included."""
    feed_id, source_id, app_id = feed
    result = FeedResult(feed_id=feed_id, source_id=source_id, app_id=app_id)
    for _ in range(ROUNDS):
        report = _poll_once(app, feed_id, progress, trigger)
        result = _added(result, report)
        if not report.held:
            return _not_read(app, result)
        if report.error is not None or app.stopping.is_set():
            return result
        merging.quiet()
        if report.complete and not app.feeds.is_asked_again(feed_id):
            return result
    return result


def _poll_once(app: Application, feed_id: FeedId, progress: Progress, trigger: str) -> PollReport:
    """Poll as soon as nobody else holds the feed: a worker's lease ends, a dead one's runs out. Not held:
    it is paused."""
    while True:
        report = app.poll(feed_id, trigger=trigger, progress=progress)
        if report.held or app.feeds.is_paused(feed_id):
            return report
        time.sleep(LEASE_PAUSE_S)


def _not_read(app: Application, result: FeedResult) -> FeedResult:
    """Somebody paused the feed, which is no failure; drift did, which is one; or it has ended meanwhile."""
    feed = next((f for f in app.status.feed_status() if f.feed_id == result.feed_id), None)
    if feed is None:
        return replace(result, error="it is no longer defined")
    if feed.stopped_by_drift:
        return replace(result, error=f"it is stopped: {feed.paused_reason}")
    return replace(result, paused=feed.paused_reason)


def _cut(app: Application, results: tuple[FeedResult, ...]) -> tuple[FeedResult, ...]:
    """The feeds whose data sources took no batches have failed: what was for them is left out."""
    cut = {feed.feed_id: feed.cut for feed in app.status.feed_status() if feed.cut}
    return tuple(
        replace(result, error=result.error or f"{', '.join(cut[result.feed_id])} {CUT}")
        if result.feed_id in cut
        else result
        for result in results
    )


def _added(result: FeedResult, report: PollReport) -> FeedResult:
    return replace(
        result,
        rows_read=result.rows_read + report.rows_read,
        batches=result.batches + report.batches,
        rejected=result.rejected + report.rejected,
        invalid=result.invalid + report.invalid,
        error=report.error,
    )


@dataclass(slots=True)
class _Merging:
    """Drains what is nudged: one thread at a time for each (data source, model). Implements `Nudge`."""

    app: Application
    pool: ThreadPoolExecutor | None = None
    _running: dict[Target, Future[None]] = field(default_factory=dict)
    _again: set[Target] = field(default_factory=set)
    _reports: dict[Target, MergeReport] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def poll(self, feed_id: FeedId) -> None:
        """Its poller asks `feeds.is_asked_again` when the merges are done."""

    def reconcile(self, feed_id: FeedId, *, full: bool) -> None:
        """As `poll`."""

    def merge(self, data_source_id: DataSourceId, model: ModelId) -> None:
        target = (data_source_id, model)
        with self._lock:
            if target in self._running:
                self._again.add(target)
            elif self.pool is not None:
                self._running[target] = self.pool.submit(self._drain, target)

    def quiet(self) -> None:
        """Nothing that was nudged is being merged any more."""
        while True:
            with self._lock:
                running = list(self._running.values())
            if not running:
                return
            wait(running, return_when=FIRST_COMPLETED, timeout=1.0)

    def finished(self) -> dict[Target, MergeReport]:
        self.quiet()
        return dict(self._reports)

    def _drain(self, target: Target) -> None:
        try:
            while True:
                report = self._report(target)
                with self._lock:
                    before = self._reports.get(target)
                    self._reports[target] = report if before is None else before.then(report)
                    if target not in self._again and report.state is not MergeState.LOCKED:
                        del self._running[target]
                        return
                    self._again.discard(target)
                if report.state is MergeState.LOCKED:
                    time.sleep(LOCK_PAUSE_S)
        except BaseException:
            with self._lock:
                self._running.pop(target, None)
            raise

    def _report(self, target: Target) -> MergeReport:
        try:
            return self.app.merge(*target)
        except HeadraceError as error:
            return MergeReport(state=MergeState.BLOCKED, errors=(with_code(error),))
