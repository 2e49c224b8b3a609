"""Nudges through the broker: enqueued by queue and actor name, never in the caller's way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import dramatiq

from headrace import logs, traces
from headrace.domain.messages import MergeModel, Message, PollFeed, ReconcileFeed
from headrace.domain.vocabulary import DataSourceId, FeedId, ModelId
from headrace.metrics import NUDGES
from headrace.queue.checked import Broker
from headrace.queue.topology import ARGUMENT, ROUTES, TRACEPARENT

log = logs.get(__name__)

HOLD_S: Final = 0.05
RETRY_S: Final = 1.0


def to_dramatiq(
    message: Message, broker: Broker, *, traceparent: str | None = None
) -> dramatiq.Message[None]:
    """The message as the broker carries it."""
    route = ROUTES[type(message)]
    return dramatiq.Message(
        queue_name=broker.queue_name(route.queue),
        actor_name=route.actor,
        args=(),
        kwargs={ARGUMENT: message.model_dump(mode="json")},
        options={} if traceparent is None else {TRACEPARENT: traceparent},
    )


class BrokerNudges:
    """Implements `ports.Nudge`. Thread-safe; close it before the broker.

    A thread of its own sends, so that no caller waits for the broker or fails with it. Equal nudges
    that wait to be sent are one. The first goes out at once; an equal one that follows within
    `HOLD_S` goes out at the end of that time. It is held and not dropped, because the work that it
    speaks of may have been written after the first one's reader had looked. Of equal ones that wait the
    first one's trace goes on.

    While the broker is away, nudges wait (at most one per feed and model) and one is tried every
    second. Those that a process takes to its grave are repeated by the sweeper.
    """

    def __init__(self, broker: Broker, *, hold_s: float = HOLD_S, retry_s: float = RETRY_S) -> None:
        for route in ROUTES.values():
            broker.declare_queue(broker.queue_name(route.queue))
        self._broker = broker
        self._hold_s = hold_s
        self._retry_s = retry_s
        self._wake = threading.Condition()
        self._due_at: dict[Message, float] = {}
        self._traces: dict[Message, str] = {}
        self._sent_at: dict[Message, float] = {}
        self._away_until: float | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="nudges", daemon=True)
        self._thread.start()

    def poll(self, feed_id: FeedId) -> None:
        self._put(PollFeed(feed_id=feed_id))

    def merge(self, data_source_id: DataSourceId, model: ModelId) -> None:
        self._put(MergeModel(data_source_id=data_source_id, model=model))

    def reconcile(self, feed_id: FeedId, *, full: bool) -> None:
        self._put(ReconcileFeed(feed_id=feed_id, full=full))

    def close(self, *, within_s: float = 5.0) -> int:
        """Nothing more is sent; what waited was sent if the broker took it in time. Returns how many
        nudges were left."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join(within_s)
        with self._wake:
            left = len(self._due_at)
            self._due_at.clear()
            self._traces.clear()
        if left:
            log.warning("nudges left to the sweeper", nudges=left)
        return left

    def _put(self, message: Message) -> None:
        traceparent = traces.carried()
        with self._wake:
            if message in self._due_at:
                _count(message, "coalesced")
                return
            now = time.monotonic()
            held_until = self._sent_at.get(message, float("-inf")) + self._hold_s
            self._due_at[message] = max(now, held_until)
            if traceparent is not None:
                self._traces[message] = traceparent
            self._wake.notify_all()

    def _run(self) -> None:
        while (message := self._next()) is not None:
            with self._wake:
                traceparent = self._traces.pop(message, None)
            try:
                self._broker.enqueue(to_dramatiq(message, self._broker, traceparent=traceparent))
            except Exception as error:  # noqa: BLE001 (drivers raise anything; this thread must live)
                self._note_failed(message, error, traceparent)
            else:
                self._note_sent(message)

    def _next(self) -> Message | None:
        """The nudge to send now, taken out; waits for one. None: closed, and nothing can be sent."""
        with self._wake:
            while True:
                now = time.monotonic()
                if self._closing and (not self._due_at or self._away_until is not None):
                    return None
                ready_at = max(min(self._due_at.values(), default=float("inf")), self._away_until or 0.0)
                if self._closing and self._due_at:
                    ready_at = now
                if ready_at <= now:
                    message = min(self._due_at, key=self._due_at.__getitem__)
                    del self._due_at[message]
                    return message
                self._wake.wait(None if ready_at == float("inf") else ready_at - now)

    def _note_sent(self, message: Message) -> None:
        _count(message, "sent")
        now = time.monotonic()
        with self._wake:
            if self._away_until is not None:
                log.info("broker is back", nudges=len(self._due_at))
            self._away_until = None
            self._sent_at[message] = now
            if len(self._sent_at) > 2 * len(self._due_at) + 64:
                recent = now - self._hold_s
                self._sent_at = {m: at for m, at in self._sent_at.items() if at > recent}

    def _note_failed(self, message: Message, error: Exception, traceparent: str | None) -> None:
        _count(message, "failed")
        with self._wake:
            if self._away_until is None:
                log.warning("broker is away, nudges wait", error=str(error), kind=type(error).__name__)
            self._away_until = time.monotonic() + self._retry_s
            self._due_at.setdefault(message, time.monotonic())
            if traceparent is not None:
                self._traces.setdefault(message, traceparent)


def _count(message: Message, outcome: str) -> None:
    NUDGES.labels(queue=ROUTES[type(message)].queue, outcome=outcome).inc()


@contextmanager
def nudging(broker: Broker) -> Iterator[BrokerNudges]:
    """While the context is open, nudges go out; then those that wait are sent and the broker is closed."""
    nudges = BrokerNudges(broker)
    try:
        yield nudges
    finally:
        nudges.close()
        broker.close()
