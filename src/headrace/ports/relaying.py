"""Taking events out of a data source's outbox, by one relay at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.domain.cloud_event import CloudEvent
from headrace.domain.record_event import RecordEvent
from headrace.domain.vocabulary import DataSourceId, ModelId


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The events of one model in one data source on their way to one sink, held by one relay."""

    sink: str
    model: ModelId
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a sink has taken a model's events.

    Attributes:
        seq: of the last event that it has.
        failures: since then, one after the other.
        failing_s: since the first of them; 0 when there is none.
    """

    seq: int
    failures: int
    failing_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits for a sink, of one model.

    Attributes:
        pending: events that it has not; at most `BACKLOG_COUNTED` are counted.
        oldest_at: Unix time of the oldest of them; None when there is none.
        set_aside: events that it did not take and that wait for a person.
        error: what was in the way at the last attempt, None when nothing is.
    """

    sink: str
    model: ModelId
    pending: int
    oldest_at: float | None
    set_aside: int
    failures: int
    error: str | None


BACKLOG_COUNTED = 1_000_000


class Outbox(Protocol):
    """The outbox of one data source. Times are of its own clock.

    A relay leases a stream; whatever it writes of it is written only while the lease is its own, so that a
    relay that was thought dead moves no position. What it delivers meanwhile is a duplicate: everybody who
    delivers begins at the same place and goes in order.
    """

    def begin(self, sinks: Sequence[str], models: Sequence[ModelId]) -> None:
        """These sinks, and no others, are given the events of these models. A sink or model that is new
        begins with what comes from now on."""
        ...

    def waiting(self, sink: str) -> tuple[ModelId, ...]:
        """The models of which the sink may take an event now. Cheap: asked several times a second."""
        ...

    def lease(self, stream: Stream, *, lease_s: float) -> Position | None:
        """The stream is the holder's alone for so long; None when it is another one's, or is to wait."""
        ...

    def renew(self, stream: Stream, *, lease_s: float) -> None:
        """As `advance`, to where the stream is."""
        ...

    def events(self, model: ModelId, *, after: int, limit: int) -> tuple[RecordEvent, ...]:
        """The model's events after this place, in order; fewer than `limit` when they are big."""
        ...

    def advance(self, stream: Stream, seq: int, *, lease_s: float) -> None:
        """The sink has all events up to this one; nothing is in the way any more.

        Raises:
            LeaseLostError: another relay has the stream.
        """
        ...

    def back_off(self, stream: Stream, error: str, *, delay_s: float) -> None:
        """The sink did not take the next event: the stream waits. Raises LeaseLostError."""
        ...

    def set_aside(self, stream: Stream, seq: int, reason: str) -> None:
        """The sink will not take this event: it is kept for a person, and the stream goes on after it. Raises
        LeaseLostError."""
        ...

    def set_aside_older(self, stream: Stream, older_s: float, reason: str) -> int:
        """As `set_aside`, of all that the sink has not and that happened longer ago; how many. That it fails
        stays noted. Raises LeaseLostError."""
        ...

    def release(self, stream: Stream) -> None:
        """Another relay may have the stream."""
        ...

    def asked_again(self, stream: Stream, *, limit: int) -> tuple[RecordEvent, ...]:
        """Events that were set aside, and that a person wants to be delivered after all, in order."""
        ...

    def refused_again(self, stream: Stream, reason: str, *, seq: int | None = None) -> None:
        """The event of this number, or without one all of the stream that was asked for again, stays set
        aside, for this reason."""
        ...

    def delivered_again(self, stream: Stream, seqs: Sequence[int]) -> None:
        """They are set aside no more."""
        ...

    def replay(self, sink: str) -> int:
        """What was set aside for the sink is delivered again; how many events."""
        ...

    def rewind(self, sink: str, *, since_s: float) -> int:
        """The sink is given again what happened within so many seconds, as far as it is kept; how many
        events it has not."""
        ...

    def prune(self, sinks: Sequence[str], *, keep_s: float, keep_aside_s: float) -> int:
        """Events that each of these sinks has and that are older are gone, and those that were set aside
        longer ago; how many. Nothing is, without a sink."""
        ...

    def backlog(self) -> tuple[Backlog, ...]:
        """By sink and model."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a sink did not take an event.

    Attributes:
        of_event: the sink is there, and does not want this event.
    """

    reason: str
    of_event: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """How a delivery went: the sink has the first `count` events, and not the next one if there is a failure.

    Attributes:
        unrouted: of the former, those that nobody there wanted.
    """

    count: int
    unrouted: int = 0
    failure: Failure | None = None


class Sink(Protocol):
    """Where events go. Safe between threads.

    Attributes:
        id: in positions and metrics.
        page_events: how many it is given at once, at most.
        lease_s: longer than it takes over that many, unless it fails.
        longest_retry_s: how long it is left alone after a failure, at most.
        give_up_s: an event that it did not take for so long is set aside.
        give_up_event_s: likewise where the sink refuses the event alone.
    """

    id: str
    page_events: int
    lease_s: float
    longest_retry_s: float
    give_up_s: float
    give_up_event_s: float

    def wants(self, data_source: DataSourceId, routing_key: str) -> bool: ...

    def deliver(self, events: Sequence[CloudEvent]) -> Delivered:
        """The sink has the events, those of one record in their order, when this returns.

        Raises:
            RetryableError: it is away; nothing is known to be delivered.
        """
        ...

    def rest(self) -> None:
        """Called now and then while nothing is delivered: what is not needed may be closed."""
        ...

    def close(self) -> None: ...
