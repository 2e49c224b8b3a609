# mypy: disable-error-code="no-untyped-call"
"""Messages from outside, taken by kombu: many at once, acknowledged when what they ask for is kept."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.message import Message

from headrace import logs
from headrace.errors import RetryableError
from headrace.ports import Unmet
from headrace.queue.exchange import CONFIRM_WITHIN_S, HEARTBEAT_S, connected, prefixed, translated
from headrace.queue.topology import TRACEPARENT, TRIGGERS, TRIGGERS_DEAD

log = logs.get(__name__)

MOST_AT_ONCE: Final = 200
MOST_DEAD: Final = 10_000
"""Dead letters that are kept; the oldest go first."""
_LONGEST_DEAD: Final = 64 * 1024
_LONGEST_REASON: Final = 1000
_IDLE_S: Final = 0.25
_LINGER_S: Final = 0.002
"""How long it is waited for another message that can be met together with those at hand."""
_FIRST_RETRY_S: Final = 0.1
_LONGEST_RETRY_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message from outside: its body as it came, and the trace that it goes on."""

    body: bytes | str = field(repr=False)
    traceparent: str | None = None


Meet = Callable[[Sequence[Received]], Sequence[Unmet | None]]
"""Keeps what the messages ask for, all of it when it returns; gives why one cannot be met, for each."""


class TriggerConsumer:
    """Takes messages until it is stopped; goes on by itself when the broker, or what `meet` needs, was away.

    A message is acknowledged after `meet` has returned, so one that a dying process held is met again; what
    cannot be met goes to the dead letters before that, so it may be there twice.
    """

    def __init__(self, url: str, meet: Meet, *, namespace: str, jitter: random.Random) -> None:
        self._url = url
        self._namespace = namespace
        self._meet = meet
        self._jitter = jitter
        self._problem = "the broker has not been reached yet"
        exchange = Exchange(self._name(TRIGGERS), type="direct")
        self._queue = Queue(self._name(TRIGGERS), exchange, routing_key=self._name(TRIGGERS))
        self._dead = Queue(self._name(TRIGGERS_DEAD), max_length=MOST_DEAD)

    def _name(self, name: str) -> str:
        return prefixed(name, self._namespace)

    def problems(self) -> list[str]:
        """What is in the way of messages now, for a person."""
        return [self._problem] if self._problem else []

    def run(self, *, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Until `stop` is set, after which the messages at hand are finished.

        Raises:
            ConfigurationError: the broker refuses.
        """
        failures = 0
        while not stop.is_set():
            beat()
            try:
                with connected(self._url, namespace=self._namespace) as connection:
                    self._consume(connection, stop, beat)
            except RetryableError as error:
                if self._problem != str(error):
                    log.warning("triggers wait", kind=type(error).__name__, error=str(error))
                failures = 0 if not self._problem else failures + 1
                self._problem = str(error)
                stop.wait(self._delay_s(failures))

    def _delay_s(self, failures: int) -> float:
        longest = min(_FIRST_RETRY_S * 2.0 ** min(failures, 10), _LONGEST_RETRY_S)
        return longest * self._jitter.uniform(0.5, 1.0)

    def _consume(self, connection: Connection, stop: threading.Event, beat: Callable[[], None]) -> None:
        taken: list[Message] = []
        with translated():
            self._dead(connection.default_channel).declare()
            consumer = connection.Consumer(
                [self._queue],
                on_message=taken.append,
                on_decode_error=lambda message, _error: taken.append(message),
                prefetch_count=MOST_AT_ONCE,
            )
            consumer.consume()
        checked_at = time.monotonic()
        while not stop.is_set():
            beat()
            with translated():
                checked_at = _keep_alive(connection, checked_at)
                _take(connection, taken)
            if taken:
                batch = tuple(taken)
                taken.clear()  # before: while a dead letter waits to be confirmed, more may be delivered
                self._settle(connection, batch)
            if self._problem:
                log.info("triggers are taken")
                self._problem = ""

    def _settle(self, connection: Connection, taken: Sequence[Message]) -> None:
        told = self._meet([_received(message) for message in taken])
        with translated():
            for message, unmet in zip(taken, told, strict=True):
                if unmet is not None:
                    self._bury(connection, message, unmet)
            for message in taken:
                message.ack()

    def _bury(self, connection: Connection, message: Message, unmet: Unmet) -> None:
        body = _bytes(message)
        headers = {
            "headrace-code": unmet.code,
            "headrace-reason": unmet.reason[:_LONGEST_REASON],
            "headrace-at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "headrace-bytes": len(body),
        }
        connection.Producer().publish(
            body[:_LONGEST_DEAD],
            exchange="",
            routing_key=self._dead.name,
            headers=headers,
            content_type=message.content_type or "application/octet-stream",
            content_encoding="binary",
            confirm_timeout=CONFIRM_WITHIN_S,
        )
        if connection.transport.driver_type == "redis":
            channel: Any = connection.default_channel
            with channel.conn_or_acquire() as client:
                client.ltrim(self._dead.name, 0, MOST_DEAD - 1)


def _keep_alive(connection: Connection, checked_at: float) -> float:
    """Heartbeats are sent and expected, where the transport has them; gives when that was last done."""
    now = time.monotonic()
    if now - checked_at < HEARTBEAT_S / 4 or not connection.supports_heartbeats:
        return checked_at
    connection.heartbeat_check()
    return now


def _take(connection: Connection, taken: list[Message]) -> None:
    """Waits for a message for a moment, then takes those that follow on its heels."""
    try:
        while len(taken) < MOST_AT_ONCE:
            connection.drain_events(timeout=_LINGER_S if taken else _IDLE_S)
    except TimeoutError:
        return


def _received(message: Message) -> Received:
    traceparent = message.headers.get(TRACEPARENT)
    return Received(body=_bytes(message), traceparent=traceparent if isinstance(traceparent, str) else None)


def _bytes(message: Message) -> bytes:
    body = message.body
    if isinstance(body, str):
        return body.encode(errors="surrogatepass")
    return bytes(body or b"")
