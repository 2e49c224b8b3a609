"""Gauges of what all processes share: asked of the control database or the broker when somebody scrapes.

Every scheduler serves them, with the same values: add nothing up over schedulers, take `max by`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace import logs
from headrace.metrics import REGISTRY

log = logs.get(__name__)

CACHE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Gauge:
    """A gauge of the catalogue."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


Values = Mapping[Gauge, Mapping[tuple[str, ...], float]]
"""The values of each gauge by those of its labels."""

BATCHES_PENDING: Final = Gauge("headrace_batches_pending", "Journalled batches that are not merged.")
BATCHES_OLDEST: Final = Gauge(
    "headrace_batches_oldest_timestamp_seconds",
    "When the oldest unmerged batch was journalled (Unix time); absent when there is none.",
)
REJECTED_ROWS_OPEN: Final = Gauge("headrace_rejected_rows_open", "Rejected rows that are open.", ("source",))
FEED_CLASS: Final = Gauge("headrace_feed_class", "What a feed promises; always 1.", ("feed", "class"))
FEED_PAUSED: Final = Gauge(
    "headrace_feed_paused", "1: the feed is not polled until resumed; else 0.", ("feed",)
)
WATERMARK: Final = Gauge(
    "headrace_watermark_timestamp_seconds",
    "The cursor up to which a feed is known to be complete, where it is a time (Unix time).",
    ("feed",),
)
LAST_SUCCESS: Final = Gauge(
    "headrace_last_success_timestamp_seconds",
    "When a poll of the feed last read its source to the end (Unix time).",
    ("feed",),
)
DATA_SOURCE_DRIFTED: Final = Gauge(
    "headrace_data_source_drifted",
    "Models whose tables lack a part in the data source; absent where none does.",
    ("data_source",),
)
QUEUE_MESSAGES: Final = Gauge(
    "headrace_queue_messages",
    "Messages in the broker (state: ready, or unacked by the worker that took it).",
    ("queue", "state"),
)

OUTBOX_PENDING: Final = Gauge(
    "headrace_outbox_pending",
    "Record events that a sink has not; at most a million of each model are counted.",
    ("data_source", "sink"),
)
OUTBOX_OLDEST: Final = Gauge(
    "headrace_outbox_oldest_timestamp_seconds",
    "When the oldest record event happened that a sink has not (Unix time); absent when there is none.",
    ("data_source", "sink"),
)
OUTBOX_ASIDE: Final = Gauge(
    "headrace_events_set_aside_open",
    "Record events that a sink did not take, and that wait for a person.",
    ("data_source", "sink"),
)

OF_CONTROL: Final = (
    BATCHES_PENDING,
    BATCHES_OLDEST,
    REJECTED_ROWS_OPEN,
    FEED_CLASS,
    FEED_PAUSED,
    WATERMARK,
    LAST_SUCCESS,
    DATA_SOURCE_DRIFTED,
)
OF_BROKER: Final = (QUEUE_MESSAGES,)
OF_OUTBOXES: Final = (OUTBOX_PENDING, OUTBOX_OLDEST, OUTBOX_ASIDE)


def feed_label(source: str, app: str) -> str:
    """A feed's name in metrics: readable, and of as many values as the definitions have feeds."""
    return f"{source}@{app}"


class Asked(Collector):
    """Gauges whose values one question answers, which is asked at most once in `cache_s` seconds.

    A failed question is logged, and the gauges are absent until one succeeds: a stale number would
    look like health.
    """

    def __init__(
        self,
        gauges: Iterable[Gauge],
        ask: Callable[[], Values],
        *,
        cache_s: float = CACHE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gauges = tuple(gauges)
        self._ask = ask
        self._cache_s = cache_s
        self._monotonic = monotonic
        self._asked_at = float("-inf")
        self._values: Values | None = None
        self._lock = threading.Lock()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        for gauge in self._gauges:
            yield _family(gauge, {})

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with self._lock:
            if self._monotonic() - self._asked_at >= self._cache_s:
                self._values = self._fresh()
                self._asked_at = self._monotonic()
            values = self._values
        if values is not None:
            for gauge in self._gauges:
                yield _family(gauge, values.get(gauge, {}))

    def _fresh(self) -> Values | None:
        try:
            return self._ask()
        except Exception:
            log.exception("gauges cannot be measured", gauges=[gauge.name for gauge in self._gauges])
            return None


def _family(gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


@contextmanager
def measured(*collectors: Asked, registry: CollectorRegistry = REGISTRY) -> Iterator[None]:
    """While the context is open, these gauges are in `registry`: in schedulers."""
    with ExitStack() as stack:
        for collector in collectors:
            registry.register(collector)
            stack.callback(registry.unregister, collector)
        yield
