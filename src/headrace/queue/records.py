# mypy: disable-error-code="no-untyped-call"
"""The topic exchange of record events, over kombu: a sink of the relay.

On RabbitMQ a page goes out at once and is waited for as a whole: each message is confirmed (a queue has it,
on disk where it is durable) or returned because no queue is bound to its routing key. On Redis a message is
pushed to each bound queue; the server answers before it has written it to disk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from kombu.connection import Connection
from kombu.entity import Exchange
from kombu.messaging import Producer

from headrace import logs
from headrace.domain.cloud_event import CONTENT_TYPE, CloudEvent
from headrace.domain.record_event import EXCHANGE
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import BrokerUnavailableError
from headrace.ports.relaying import Delivered
from headrace.queue.exchange import CONFIRM_WITHIN_S, VARIABLE, Confirms, connected, prefixed, translated

log = logs.get(__name__)

_IDLE_S: Final = 10.0
"""After so long without an event there is no connection: none has to be kept alive."""
_FOREVER_S: Final = float("inf")


class RecordExchange:
    """Implements `ports.relaying.Sink`. What the broker was sent and has not confirmed is sent again."""

    id = EXCHANGE
    page_events = 1000
    lease_s = 30.0
    longest_retry_s = 5.0
    give_up_s = _FOREVER_S
    give_up_event_s = _FOREVER_S

    def __init__(self, url: str, *, namespace: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._namespace = namespace
        self._monotonic = monotonic
        self._exchange = Exchange(prefixed(EXCHANGE, namespace), type="topic", durable=True)
        self._lock = threading.Lock()
        self._kept: _Kept | None = None
        self._used_at = monotonic()
        self._told_unrouted: set[str] = set()

    def wants(self, data_source: DataSourceId, routing_key: str) -> bool:  # noqa: ARG002
        return True

    def deliver(self, events: Sequence[CloudEvent]) -> Delivered:
        if not events:
            return Delivered(count=0)
        with self._lock, self._connected() as kept:
            redis = _is_redis(kept.connection)
            unrouted = self._push(kept.channel, events) if redis else self._publish(kept, events)
            self._used_at = self._monotonic()
        self._tell(unrouted)
        return Delivered(count=len(events), unrouted=len(unrouted))

    def check(self) -> None:
        """The broker answers. Raises BrokerUnavailableError, ConfigurationError."""
        with self._lock, self._connected():
            self._used_at = self._monotonic()

    def rest(self) -> None:
        if self._kept is not None and self._lock.acquire(blocking=False):
            try:
                if self._monotonic() - self._used_at >= _IDLE_S:
                    self._close()
            finally:
                self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._close()

    def _publish(self, kept: _Kept, events: Sequence[CloudEvent]) -> list[str]:
        """Routing keys of messages that no queue is bound to. Every other one is confirmed."""
        confirms = _Confirms(kept.channel, range(kept.sent + 1, kept.sent + 1 + len(events)))
        kept.sent += len(events)
        with translated():
            producer = Producer(kept.channel, exchange=self._exchange, auto_declare=False)
            for event in events:
                _send(producer, event, mandatory=True)
            deadline = self._monotonic() + CONFIRM_WITHIN_S
            while confirms.missing:
                kept.connection.drain_events(timeout=max(0.001, deadline - self._monotonic()))
        if confirms.refused:
            raise BrokerUnavailableError(f"the broker of {VARIABLE} refused events: is a queue full?")
        return confirms.returned

    def _push(self, channel: Any, events: Sequence[CloudEvent]) -> list[str]:
        with translated():
            producer = Producer(channel, exchange=self._exchange, auto_declare=False)
            table = channel.get_table(self._exchange.name)
            lookup = channel.typeof(self._exchange.name).lookup
            unrouted = []
            for event in events:
                if lookup(table, self._exchange.name, event.routing_key, None):
                    _send(producer, event, mandatory=False)
                else:
                    unrouted.append(event.routing_key)
        return unrouted

    def _tell(self, unrouted: Sequence[str]) -> None:
        """Once for each routing key."""
        new = sorted(set(unrouted) - self._told_unrouted)
        if new:
            self._told_unrouted |= set(new)
            log.warning("no queue is bound to these routing keys: their events go nowhere", routing_keys=new)

    @contextmanager
    def _connected(self) -> Iterator[_Kept]:
        """The kept connection, or a new one; none is kept after an error."""
        try:
            if self._kept is None:
                opening = connected(self._url, namespace=self._namespace, confirms=Confirms.TOGETHER)
                self._kept = _Kept(opening, opening.__enter__())
                with translated():
                    self._prepare(self._kept)
            yield self._kept
        except BaseException as error:
            self._close(error)
            raise

    def _prepare(self, kept: _Kept) -> None:
        kept.channel = kept.connection.default_channel
        self._exchange(kept.channel).declare()
        if not _is_redis(kept.connection):
            kept.channel.confirm_select()

    def _close(self, error: BaseException | None = None) -> None:
        if self._kept is None:
            return
        opening, self._kept = self._kept.opening, None
        with suppress(BrokerUnavailableError):  # it was away before, and that was told
            opening.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)


def _is_redis(connection: Connection) -> bool:
    return bool(connection.transport.driver_type == "redis")


@dataclass(slots=True)
class _Kept:
    """A connection that is kept, and how many messages went over its channel."""

    opening: AbstractContextManager[Connection]
    connection: Connection
    channel: Any = None
    sent: int = 0


class _Confirms:
    """What RabbitMQ says of the messages of one page, whose numbers on the channel are `tags`."""

    def __init__(self, channel: Any, tags: range) -> None:
        self.missing = set(tags)
        self.refused = 0
        self.returned: list[str] = []
        channel.events["basic_ack"] = {self._settle}
        channel.events["basic_nack"] = {self._refuse}
        channel.events["basic_return"] = {self._came_back}

    def _settle(self, delivery_tag: int, multiple: bool) -> None:
        settled = {tag for tag in self.missing if tag <= delivery_tag} if multiple else {delivery_tag}
        self.missing -= settled

    def _refuse(self, delivery_tag: int, multiple: bool) -> None:
        self.refused += 1
        self._settle(delivery_tag, multiple)

    def _came_back(self, _error: Exception, _exchange: str, routing_key: str, _message: object) -> None:
        self.returned.append(routing_key)


def _send(producer: Producer, event: CloudEvent, *, mandatory: bool) -> None:
    producer.publish(
        event.body,
        routing_key=event.routing_key,
        content_type=CONTENT_TYPE,
        content_encoding="utf-8",
        delivery_mode="persistent",
        message_id=event.id,
        mandatory=mandatory,
    )
