# mypy: disable-error-code="no-untyped-call"
"""The connection to the broker of messages from and to the outside (`HEADRACE_EVENTS_URL`), over kombu."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Final

import amqp  # type: ignore[import-untyped]
import redis
from kombu.connection import Connection
from kombu.exceptions import KombuError

from headrace.errors import BrokerUnavailableError, ConfigurationError, ErrorCode, Fault
from headrace.queue.plain_redis import PlainTransport
from headrace.queue.redis_broker import refuse_eviction
from headrace.queue.topology import TRIGGERS

VARIABLE: Final = "HEADRACE_EVENTS_URL"
CONFIRM_WITHIN_S: Final = 10.0
HEARTBEAT_S: Final = 30
VISIBLE_AGAIN_S: Final = 60
"""On Redis, after this time what a dead process held comes to another one (kombu's own: an hour)."""
_CONNECT_WITHIN_S: Final = 5.0

_REFUSALS: Final = (redis.AuthenticationError, amqp.AccessRefused, amqp.NotAllowed, amqp.PreconditionFailed)
# kombu and py-amqp raise the last two, of objects of theirs, when a connection is lost under them.
_LOST: Final = (redis.RedisError, amqp.AMQPError, KombuError, OSError, AttributeError, KeyError)


def needed(url: str | None) -> str:
    """The URL of the setting.

    Raises:
        ConfigurationError: it is not set.
    """
    if url is None:
        why = "is not set: the broker of messages from and to the outside, redis://… or amqp://…, is needed"
        raise ConfigurationError(Fault(VARIABLE, "", why))
    return url


class Confirms(Enum):
    """How RabbitMQ confirms what is published: each message is waited for, or the publisher sees to it."""

    EACH = True
    TOGETHER = False


@contextmanager
def connected(url: str, *, namespace: str, confirms: Confirms = Confirms.EACH) -> Iterator[Connection]:
    """A connection for this thread; what it has not acknowledged goes back to its queue at the end.

    Raises:
        BrokerUnavailableError: the broker is away.
        ConfigurationError: it refuses, which waiting would not change.
    """
    connection = _made(url, namespace, confirms)
    try:
        with translated():
            connection.connect()
            if _is_redis(url):
                with connection.channel() as channel, channel.conn_or_acquire() as client:
                    refuse_eviction(client, VARIABLE)
        yield connection
    except BrokerUnavailableError:
        with suppress(*_LOST):
            # RabbitMQ gives back what a lost connection held; Redis has to be told.
            connection.release() if _is_redis(url) else connection.collect()
        raise
    except BaseException:
        with suppress(*_LOST):
            connection.release()
        raise
    with translated():
        connection.release()


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the libraries become ours; the block calls nothing else.

    Raises:
        BrokerUnavailableError, ConfigurationError: see `connected`.
    """
    try:
        yield
    except _REFUSALS as error:
        fault = Fault(VARIABLE, "", f"the broker refuses: {error}", ErrorCode.BROKER_LOGIN_REFUSED)
        raise ConfigurationError(fault) from error
    except _LOST as error:
        raise BrokerUnavailableError(f"the broker of {VARIABLE} is away: {error!r}") from error


def prefixed(name: str, namespace: str) -> str:
    """The name on the server of a queue or exchange; the default namespace adds nothing."""
    return name if namespace == "headrace" else f"{namespace}.{name}"


def _is_redis(url: str) -> bool:
    return url.startswith("redis")


def _made(url: str, namespace: str, confirms: Confirms) -> Connection:
    if not _is_redis(url):
        options = {"confirm_publish": confirms.value, "write_timeout": CONFIRM_WITHIN_S}
        return Connection(
            url, transport_options=options, connect_timeout=_CONNECT_WITHIN_S, heartbeat=HEARTBEAT_S
        )
    # kombu's own names of these are shared by all that use kombu or Celery in the same database.
    held = prefixed(TRIGGERS, namespace) + ".unacked"
    connection = Connection(
        url,
        transport_options={
            "socket_timeout": 30.0,
            "socket_connect_timeout": _CONNECT_WITHIN_S,
            "socket_keepalive": True,
            "visibility_timeout": VISIBLE_AGAIN_S,
            "unacked_key": held,
            "unacked_index_key": f"{held}.index",
            "unacked_mutex_key": f"{held}.mutex",
        },
    )
    connection.transport_cls = PlainTransport
    return connection
