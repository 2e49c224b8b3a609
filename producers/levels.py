"""How full and how far all is: what a scheduler's gauges ask of the control database and the broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from headrace import gauges, wiring
from headrace.control.status import FeedLevel
from headrace.domain.cursor_time import cursor_times
from headrace.gauges import Values, feed_label
from headrace.queue.checked import Broker
from headrace.queue.topology import FETCH, MERGE


def measuring(app: wiring.Application, broker: Broker) -> AbstractContextManager[None]:
    """While the context is open, this process serves the gauges of what all processes share."""
    return gauges.measured(
        gauges.Asked(gauges.OF_CONTROL, lambda: of_control(app)),
        gauges.Asked(gauges.OF_BROKER, lambda: of_broker(broker)),
    )


def of_control(app: wiring.Application) -> Values:
    """By the control database, whose feeds are a handful of statements whatever their number."""
    feeds = app.status.feed_levels()
    return {
        **_backlog(feeds),
        **_feeds(feeds),
        gauges.WATERMARK: _watermarks(app, feeds),
        gauges.DATA_SOURCE_DRIFTED: dict(Counter((data_source,) for data_source, _ in app.drift.drifted())),
    }


def of_broker(broker: Broker) -> Values:
    """Messages of each queue of ours, by state."""
    return {
        gauges.QUEUE_MESSAGES: {
            (queue, state): number
            for queue in (FETCH, MERGE)
            for state, number in broker.messages(queue).items()
        }
    }


def _backlog(feeds: Iterable[FeedLevel]) -> Values:
    rejected: Counter[tuple[str, ...]] = Counter()
    for feed in feeds:
        rejected[feed.source_id,] += feed.rejected
    waiting_since = (feed.pending_since for feed in feeds if feed.pending_since is not None)
    oldest = min(waiting_since, default=None)
    return {
        gauges.BATCHES_PENDING: {(): sum(feed.pending_batches for feed in feeds)},
        gauges.BATCHES_OLDEST: {} if oldest is None else {(): oldest.timestamp()},
        gauges.REJECTED_ROWS_OPEN: dict(rejected),
    }


def _feeds(feeds: Iterable[FeedLevel]) -> Values:
    return {
        gauges.FEED_CLASS: {(*_label(f), f.feed_class.value): 1 for f in feeds if f.feed_class is not None},
        gauges.FEED_PAUSED: {_label(feed): int(feed.paused) for feed in feeds},
        gauges.LAST_SUCCESS: _times(feeds, lambda feed: feed.last_success_at),
    }


def _times(
    feeds: Iterable[FeedLevel], moment_of: Callable[[FeedLevel], datetime | None]
) -> dict[tuple[str, ...], float]:
    moments = ((_label(feed), moment_of(feed)) for feed in feeds)
    return {label: moment.timestamp() for label, moment in moments if moment is not None}


def _watermarks(app: wiring.Application, feeds: Sequence[FeedLevel]) -> Mapping[tuple[str, ...], float]:
    """Feeds by the time zone of their cursors: the texts of each are read at once."""
    plans = app.catalogue().plans if feeds else {}
    by_zone: dict[str, list[FeedLevel]] = {}
    for feed in feeds:
        plan = plans.get((feed.source_id, feed.app_id))
        if plan is not None and feed.saved_cursor is not None:
            by_zone.setdefault(plan.read.time_zone, []).append(feed)
    return {
        _label(feed): moment.timestamp()
        for zone, some in by_zone.items()
        for feed, moment in zip(some, cursor_times([str(f.saved_cursor) for f in some], zone), strict=True)
        if moment is not None
    }


def _label(feed: FeedLevel) -> tuple[str, ...]:
    return (feed_label(feed.source_id, feed.app_id),)
