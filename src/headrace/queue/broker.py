"""The broker of a URL. JSON only: no pickle is read or written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import dramatiq
from dramatiq.brokers.stub import StubBroker

from headrace.errors import ConfigurationError, Fault
from headrace.queue.checked import Broker
from headrace.queue.redis_broker import SturdyRedisBroker, connect
from headrace.settings import Settings

DEFAULT_NAMESPACE: Final = "headrace"


class MemoryBroker(StubBroker, Broker):
    """All queues in this process, for one process."""

    def __init__(self) -> None:
        super().__init__(middleware=[])

    def check(self) -> None:
        """It is always there."""

    def messages(self, queue: str) -> Mapping[str, int]:
        name = self.queue_name(queue)
        return {"ready": self.queues[name].qsize() if name in self.queues else 0}


def make(url: str, *, namespace: str = DEFAULT_NAMESPACE) -> Broker:
    """A broker of its own, connected to nothing yet. Make it after any fork.

    Args:
        url: redis://, rediss://, amqp://, amqps:// or memory://.
        namespace: prefix of the Redis keys; on RabbitMQ, of the queues, except that the default adds nothing.

    Errors: `ConfigurationError` for another URL, or when RabbitMQ's driver is not installed.
    """
    dramatiq.set_encoder(dramatiq.JSONEncoder())
    scheme, separator, _ = url.partition("://")
    match scheme if separator else "":
        case "memory":
            return MemoryBroker()
        case "redis" | "rediss":
            return SturdyRedisBroker(client=connect(url), namespace=namespace)
        case "amqp" | "amqps":
            return _rabbitmq(url, namespace)
    why = "must start with redis://, rediss://, amqp://, amqps:// or memory://"
    raise ConfigurationError(Fault("HEADRACE_BROKER_URL", "", why))


def shared(settings: Settings) -> Broker:
    """The broker of the settings, which several processes hear.

    Errors: `ConfigurationError`, for memory:// too.
    """
    if settings.broker_url.startswith("memory://"):
        why = (
            "memory:// works in one process only: set it to redis://… or amqp://…, "
            "or run everything in one process with `headrace up`"
        )
        raise ConfigurationError(Fault("HEADRACE_BROKER_URL", "", why))
    return make(settings.broker_url, namespace=settings.queue_namespace)


def _rabbitmq(url: str, namespace: str) -> Broker:
    try:
        from headrace.queue.rabbitmq_broker import SturdyRabbitmqBroker
    except ImportError as error:
        why = "amqp:// needs RabbitMQ's driver: pip install 'headrace[rabbitmq]'"
        raise ConfigurationError(Fault("HEADRACE_BROKER_URL", "", why)) from error
    return SturdyRabbitmqBroker(url, prefix="" if namespace == DEFAULT_NAMESPACE else f"{namespace}.")
