"""Bring the events of a data source to a sink: each at least once, those of a model in order.

The position moves after the sink has the events, so a crash in between delivers some of them again, with the
ids that they had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from headrace import logs, metrics
from headrace.domain.cloud_event import CloudEvent, Origin, cloud_event
from headrace.domain.record_event import RecordEvent
from headrace.domain.schedule import backoff_s
from headrace.errors import LeaseLostError
from headrace.ports import Clock
from headrace.ports.relaying import Delivered, Failure, Outbox, Position, Sink, Stream

log = logs.get(__name__)

_AGAIN_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStep:
    """Drains outboxes.

    Attributes:
        holder: names this relay in its leases.
        stopping: the process is asked to stop: what is at hand is finished.
    """

    holder: str
    clock: Clock
    random: Random
    stopping: Callable[[], bool]

    def drain(self, outbox: Outbox, origin: Origin, sink: Sink) -> int:
        """The sink has what it can have now; how many events it was given.

        Raises:
            RetryableError: the data source or the sink is away.
        """
        given = 0
        for model in outbox.waiting(sink.id):
            stream = Stream(sink=sink.id, model=model, holder=self.holder)
            given += _Streaming(self, outbox, origin, sink, stream).run()
        return given


@dataclass(slots=True)
class _Streaming:
    """One stream, for as long as it is this relay's."""

    step: RelayStep
    outbox: Outbox
    origin: Origin
    sink: Sink
    stream: Stream

    def run(self) -> int:
        position = self.outbox.lease(self.stream, lease_s=self.sink.lease_s)
        if position is None:
            return 0
        try:
            return self._again() + self._on(position)
        except LeaseLostError as error:
            log.warning("events are left to another relay", sink=self.sink.id, error=str(error))
            return 0
        finally:
            self.outbox.release(self.stream)

    def _on(self, position: Position) -> int:
        """What follows the position is delivered, until there is no more or the sink fails."""
        given, seq = 0, position.seq
        while not self.step.stopping():
            page = self.outbox.events(self.stream.model, after=seq, limit=self.sink.page_events)
            if not page:
                break
            wanted = self._wanted(page)
            delivered = self.sink.deliver(wanted)
            self._count(delivered, page)
            given += delivered.count
            if delivered.failure is None:
                seq = page[-1].seq
                self.outbox.advance(self.stream, seq, lease_s=self.sink.lease_s)
                continue
            failed = wanted[delivered.count]
            before = max((event.seq for event in page if event.seq < failed.seq), default=seq)
            if before > seq:
                self.outbox.advance(self.stream, before, lease_s=self.sink.lease_s)
                position = Position(seq=before, failures=0, failing_s=0)
            if not self._fail(failed, delivered.failure, position):
                break
            seq, position = failed.seq, Position(seq=failed.seq, failures=0, failing_s=0)
        return given

    def _fail(self, event: CloudEvent, failure: Failure, position: Position) -> bool:
        """The event waits (False), or is set aside, and the stream goes on."""
        sink, outbox = self.sink, self.outbox
        if failure.of_event and position.failing_s >= sink.give_up_event_s:
            outbox.set_aside(self.stream, event.seq, failure.reason)
            self._tell_aside(1, failure)
            return True
        if not failure.of_event and position.failures:
            self._tell_aside(outbox.set_aside_older(self.stream, sink.give_up_s, failure.reason), failure)
        delay_s = min(backoff_s(position.failures + 1, self.step.random), sink.longest_retry_s)
        outbox.back_off(self.stream, failure.reason, delay_s=delay_s)
        metrics.EVENTS_PUBLISHED.labels(sink=sink.id, outcome="failed").inc()
        if not position.failures:
            log.warning("events wait", sink=sink.id, model=self.stream.model, error=failure.reason)
        return False

    def _tell_aside(self, count: int, failure: Failure) -> None:
        if count:
            metrics.EVENTS_PUBLISHED.labels(sink=self.sink.id, outcome="set_aside").inc(count)
            log.error("events set aside", sink=self.sink.id, model=self.stream.model, events=count,
                      error=failure.reason)  # fmt: skip

    def _again(self) -> int:
        """What was set aside and is asked for again is tried once."""
        given, limit = 0, min(_AGAIN_AT_ONCE, self.sink.page_events)
        while not self.step.stopping() and (page := self.outbox.asked_again(self.stream, limit=limit)):
            wanted = self._wanted(page)
            delivered = self.sink.deliver(wanted)
            given += delivered.count
            failed = None if delivered.failure is None else wanted[delivered.count].seq
            taken = [event.seq for event in page if failed is None or event.seq < failed]
            if taken:
                self.outbox.delivered_again(self.stream, taken)
            if delivered.failure is not None:
                alone = failed if delivered.failure.of_event else None
                self.outbox.refused_again(self.stream, delivered.failure.reason, seq=alone)
            self.outbox.renew(self.stream, lease_s=self.sink.lease_s)
        return given

    def _wanted(self, page: Sequence[RecordEvent]) -> list[CloudEvent]:
        events = (cloud_event(event, self.origin) for event in page)
        return [event for event in events if self.sink.wants(self.origin.data_source, event.routing_key)]

    def _count(self, delivered: Delivered, page: Sequence[RecordEvent]) -> None:
        if not delivered.count:
            return
        published = metrics.EVENTS_PUBLISHED.labels(sink=self.sink.id, outcome="published")
        published.inc(delivered.count - delivered.unrouted)
        if delivered.unrouted:
            metrics.EVENTS_PUBLISHED.labels(sink=self.sink.id, outcome="unrouted").inc(delivered.unrouted)
        delay = metrics.EVENT_DELAY.labels(sink=self.sink.id)
        delay.observe(max(0.0, self.step.clock.now().timestamp() - page[0].happened_at))
