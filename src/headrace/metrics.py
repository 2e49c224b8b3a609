"""The closed vocabulary of metrics, in a registry of our own (`docs/metrics.md` is its catalogue).

Base units; no label of unbounded size: never a key, never a customer.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace import logs

log = logs.get(__name__)

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_DURATIONS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

RUNS: Final = Counter(
    "headrace_runs",
    "Polls that found something or failed.",
    ["source", "trigger", "outcome"],
    registry=REGISTRY,
)
ROWS_FETCHED: Final = Counter(
    "headrace_rows_fetched", "Rows read from a source.", ["source"], registry=REGISTRY
)
ROWS_MERGED: Final = Counter(
    "headrace_rows_merged",
    "Records written by merges (result: inserted, updated or deleted).",
    ["model", "result"],
    registry=REGISTRY,
)
ROWS_REJECTED: Final = Counter(
    "headrace_rows_rejected",
    "Rows set aside, by code of the reason.",
    ["source", "reason"],
    registry=REGISTRY,
)
CLOCK_STEPS: Final = Counter(
    "headrace_source_clock_steps", "Times that a source's clock was found set back.", ["source"],
    registry=REGISTRY,
)  # fmt: skip
CLASS_FALLS: Final = Counter(
    "headrace_feed_class_falls",
    "Times that a feed could promise less than at its poll before.",
    ["source"],
    registry=REGISTRY,
)
SOURCES_RESTORED: Final = Counter(
    "headrace_sources_restored",
    "Feeds whose source was found restored or failed over, and that are compared in full.",
    ["source"],
    registry=REGISTRY,
)
SWEEPER_RENUDGES: Final = Counter(
    "headrace_sweeper_renudges", "Nudges that the sweeper repeated.", ["queue"], registry=REGISTRY
)
SCHEDULE_SKIPPED: Final = Counter(
    "headrace_schedule_skipped",
    "Times that a feed was to be polled and was not (reason: running, a poll follows the one under way).",
    ["reason"],
    registry=REGISTRY,
)
TRIGGERS: Final = Counter(
    "headrace_triggers",
    "Requests to poll a source now, of messages and of the API (outcome: accepted or rejected).",
    ["outcome"],
    registry=REGISTRY,
)
RUN_DURATION: Final = Histogram(
    "headrace_run_duration_seconds", "A poll from its claim to its release.", ["source"],
    buckets=_DURATIONS_S, registry=REGISTRY,
)  # fmt: skip
MERGE_DURATION: Final = Histogram(
    "headrace_merge_duration_seconds", "A transaction in a data source, its lock included.", ["model"],
    buckets=_DURATIONS_S, registry=REGISTRY,
)  # fmt: skip
NUDGES: Final = Counter(
    "headrace_nudges", "Nudges for the broker (outcome: sent, coalesced or failed).", ["queue", "outcome"],
    registry=REGISTRY,
)  # fmt: skip
MESSAGES: Final = Counter(
    "headrace_messages",
    "Messages taken from the broker (outcome: done, failed, unknown, invalid or malformed).",
    ["queue", "outcome"],
    registry=REGISTRY,
)
HTTP_REQUESTS: Final = Counter(
    "headrace_http_requests",
    "Requests by the template of their route (none: no such path) and the status of their answer.",
    ["route", "method", "status"],
    registry=REGISTRY,
)
HTTP_DURATION: Final = Histogram(
    "headrace_http_request_duration_seconds",
    "A request from its head to the end of its answer.",
    ["route", "method"],
    buckets=_DURATIONS_S,
    registry=REGISTRY,
)
BUILD: Final = Info("headrace_build", "Versions, as labels; always 1.", registry=REGISTRY)
BUILD.info({"version": version("headrace"), "python": platform.python_version()})


@dataclass(frozen=True, slots=True)
class Pending:
    """What waits: batches that are journalled and not merged, how many and the Unix time of the oldest one;
    and open rejected rows by source."""

    batches: int
    oldest_timestamp_s: float | None
    rejected: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """What the feed of each (source, app) promised last."""
    drifted: Mapping[str, int] = field(default_factory=dict)
    """Models whose tables lack a part, by data source that has such."""


class PendingBatches(Collector):
    """Gauges of the backlog, asked of the control database at most once in `cache_s` seconds.

    A failed question is logged, and the gauges are absent until one succeeds: a stale number would
    look like health.
    """

    def __init__(
        self,
        ask: Callable[[], Pending],
        *,
        cache_s: float = 10.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._cache_s = cache_s
        self._monotonic = monotonic
        self._asked_at = float("-inf")
        self._pending: Pending | None = None
        self._lock = threading.Lock()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield from _backlog(None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with self._lock:
            if self._monotonic() - self._asked_at >= self._cache_s:
                self._pending = self._fresh()
                self._asked_at = self._monotonic()
            pending = self._pending
        if pending is not None:
            yield from _backlog(pending)

    def _fresh(self) -> Pending | None:
        try:
            return self._ask()
        except Exception:
            log.exception("backlog cannot be measured")
            return None


def _backlog(pending: Pending | None) -> Iterator[GaugeMetricFamily]:
    batches = GaugeMetricFamily("headrace_batches_pending", "Journalled batches that are not merged.")
    oldest = GaugeMetricFamily(
        "headrace_batches_oldest_timestamp_seconds",
        "When the oldest unmerged batch was journalled (Unix time); absent when there is none.",
    )
    rejected = GaugeMetricFamily(
        "headrace_rejected_rows_open", "Rejected rows that are open.", labels=["source"]
    )
    classes = GaugeMetricFamily(
        "headrace_feed_class", "What a feed promises; always 1.", labels=["source", "app", "class"]
    )
    drifted = GaugeMetricFamily(
        "headrace_data_source_drifted",
        "Models whose tables lack a part in the data source; absent where none does.",
        labels=["data_source"],
    )
    if pending is not None:
        for data_source, models in sorted(pending.drifted.items()):
            drifted.add_metric([data_source], models)
        for (source, app), feed_class in sorted(pending.classes.items()):
            classes.add_metric([source, app, feed_class], 1)
        for source, rows in sorted(pending.rejected.items()):
            rejected.add_metric([source], rows)
        batches.add_metric([], pending.batches)
        if pending.oldest_timestamp_s is not None:
            oldest.add_metric([], pending.oldest_timestamp_s)
    yield batches
    yield oldest
    yield rejected
    yield classes
    yield drifted


@contextmanager
def measuring(ask: Callable[[], Pending], *, registry: CollectorRegistry = REGISTRY) -> Iterator[None]:
    """While the context is open, the backlog's gauges are in `registry`: in the scheduler."""
    collector = PendingBatches(ask)
    registry.register(collector)
    try:
        yield
    finally:
        registry.unregister(collector)
