# mypy: disable-error-code="no-untyped-call"
"""dramatiq's RabbitMQ broker with publisher confirms; imported only for `amqp://` URLs, because its
driver is an extra (`headrace[rabbitmq]`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from dramatiq.brokers.rabbitmq import RabbitmqBroker, _RabbitmqConsumer
from dramatiq.errors import BrokerError
from pika.exceptions import AMQPError  # type: ignore[import-untyped]

from headrace.domain.finding import Finding, FindingCode, Severity
from headrace.errors import BrokerUnavailableError
from headrace.queue import sieve
from headrace.queue.checked import Broker

_DEFAULTS: Final = {
    "heartbeat": "30",
    "connection_attempts": "1",
    "socket_timeout": "5",
    "stack_timeout": "10",
    # A server that is out of disk stops reading: without this, a publisher waits for ever.
    "blocked_connection_timeout": "10",
}


class SturdyRabbitmqBroker(RabbitmqBroker, Broker):
    """Confirms every message that it takes, and drops what is no message instead of keeping it."""

    def __init__(self, url: str, *, prefix: str) -> None:
        super().__init__(url=with_timeouts(url), confirm_delivery=True, middleware=[])
        self.prefix = prefix

    @property
    def consumer_class(self) -> type[_Consumer]:
        return _Consumer

    def messages(self, queue: str) -> Mapping[str, int]:
        try:
            declared = self._declare_queue(self.queue_name(queue))
            return {"ready": int(declared.method.message_count)}
        except (AMQPError, OSError) as error:
            raise BrokerUnavailableError(f"RabbitMQ cannot be reached: {error!r}") from error
        finally:
            del self.connection

    def check(self) -> None:
        """The server answers and the declared queues exist. Errors: `BrokerUnavailableError`."""
        try:
            for queue in self.get_declared_queues():
                self.declare_queue(queue, ensure=True)
        except (BrokerError, OSError) as error:
            raise BrokerUnavailableError(f"RabbitMQ cannot be reached: {error}") from error
        finally:
            del self.connection  # this thread's own: threads that ask once would leave one each

    def concern(self) -> Finding | None:
        """The server cannot confirm what it takes."""
        try:
            confirms = self.connection.publisher_confirms_supported
        except (BrokerError, OSError) as error:
            raise BrokerUnavailableError(f"RabbitMQ cannot be reached: {error}") from error
        if confirms:
            return None
        return Finding(
            severity=Severity.WARNING,
            code=FindingCode.BROKER_UNCONFIRMED,
            where="broker",
            what="this server confirms no message that it takes",
            remedy="use RabbitMQ 3.8 or later",
        )


class _Consumer(_RabbitmqConsumer):
    def __next__(self) -> Any:
        message = super().__next__()
        if message is None:
            return None
        reason = sieve.refusal(message, self.queue_name, self.broker.actors)
        if reason is None:
            return message
        self.ack(message)
        sieve.count_dropped(self.queue_name.removeprefix(self.broker.prefix), reason)
        return None

    def _nack(self, tag: int) -> None:
        # Reached only by what cannot be decoded: `__next__` lets nothing through that would fail.
        self.connection.add_callback_threadsafe(partial(self.channel.basic_ack, tag))
        sieve.count_dropped(self.queue_name.removeprefix(self.broker.prefix), "malformed")


def with_timeouts(url: str) -> str:
    """The URL with time-outs and a heartbeat, except where it says its own."""
    parts = urlsplit(url)
    own = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return urlunsplit(parts._replace(query=urlencode({**_DEFAULTS, **own})))
