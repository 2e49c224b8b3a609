"""The closed vocabulary of what a process counts and measures, in a registry of our own (`docs/metrics.md` is
the catalogue; `gauges` has what is asked of the control database and the broker).

Base units; no label of unbounded size: never a key, never a customer.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

# Else each counter and histogram has a second series, which the catalogue does not know and nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_DURATIONS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_AGES_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400)

RUNS: Final = Counter(
    "headrace_runs",
    "Polls, by what began them and how they ended (outcome: succeeded or failed).",
    ["source", "trigger", "outcome"],
    registry=REGISTRY,
)
ROWS_FETCHED: Final = Counter(
    "headrace_rows_fetched", "Rows read from a source.", ["source"], registry=REGISTRY
)
ROWS_MERGED: Final = Counter(
    "headrace_rows_merged",
    "Records that merges wrote or found (result: inserted, updated, deleted or unchanged).",
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
LOGS_CUT: Final = Counter(
    "headrace_logs_cut",
    "Logs cut because their data source took no batches while others of the feed did.",
    ["source"],
    registry=REGISTRY,
)
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
    "Times that a feed was to be polled and was not (reason: running, a poll follows the one under way;"
    " app_busy, its app has all the threads that it may have, and it is polled when one is free).",
    ["reason"],
    registry=REGISTRY,
)
TRIGGERS: Final = Counter(
    "headrace_triggers",
    "Requests to poll a source now, of messages and of the API (outcome: accepted or rejected).",
    ["outcome"],
    registry=REGISTRY,
)
LISTENING: Final = Gauge(
    "headrace_listening",
    "1: this process takes the notifications of the app's database; 0: it misses them.",
    ["app"],
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
FRESHNESS: Final = Histogram(
    "headrace_freshness_seconds",
    "From a change at its source until it was visible in the data source; the oldest change of each batch.",
    ["source"],
    buckets=_AGES_S,
    registry=REGISTRY,
)
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
EVENTS_PUBLISHED: Final = Counter(
    "headrace_events_published",
    "Record events for a sink (outcome: published, unrouted: no queue bound, failed: an attempt, set_aside).",
    ["sink", "outcome"],
    registry=REGISTRY,
)
EVENT_DELAY: Final = Histogram(
    "headrace_event_delay_seconds",
    "From a record's change in its data source until a sink had the event; the oldest event of each page.",
    ["sink"],
    buckets=_AGES_S,
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


def begin_at_zero(source: str) -> None:
    """What seldom happens to a source is counted from zero: of a counter that appears with its first event no
    alert could see an increase."""
    for counter in (CLOCK_STEPS, CLASS_FALLS, SOURCES_RESTORED, LOGS_CUT):
        counter.labels(source=source)
