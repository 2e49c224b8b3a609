"""Brokers for tests: each test has its own names on the server, removed afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import dramatiq.worker
import pytest
import redis

from headrace.queue import broker as brokers
from headrace.queue.checked import Broker
from headrace.queue.topology import FETCH, MERGE
from tests.proxy import Proxy


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A server and a namespace of this test's own."""

    url: str
    namespace: str

    def open(self) -> Broker:
        return brokers.make(self.url, namespace=self.namespace)

    def through(self, port: int) -> BrokerAddress:
        """The same broker behind a proxy on this machine."""
        parts = urlsplit(self.url)
        user = f"{parts.username}:{parts.password}@" if parts.username else ""
        return BrokerAddress(urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{port}")), self.namespace)


@pytest.fixture
def redis_broker(redis_server: str) -> Iterator[BrokerAddress]:
    address = BrokerAddress(redis_server, f"headrace-test-{uuid.uuid4().hex[:12]}")
    yield address
    _empty(address)


@pytest.fixture
def empty_redis() -> Callable[[BrokerAddress], None]:
    return _empty


def _empty(address: BrokerAddress) -> None:
    """What the broker has in Redis is gone, as if the server had lost it."""
    with redis.Redis.from_url(address.url) as client:
        for key in client.scan_iter(f"{address.namespace}:*", count=1000):
            client.delete(key)


@pytest.fixture
def rabbitmq_broker(rabbitmq_server: str) -> Iterator[BrokerAddress]:
    import kombu

    address = BrokerAddress(rabbitmq_server, f"headrace-test-{uuid.uuid4().hex[:12]}")
    yield address
    with kombu.Connection(rabbitmq_server) as connection:
        for queue in (FETCH, MERGE):
            for suffix in ("", ".DQ", ".XQ"):
                connection.default_channel.queue_delete(f"{address.namespace}.{queue}{suffix}")


@pytest.fixture(params=["redis", "rabbitmq"])
def server_broker(request: pytest.FixtureRequest) -> BrokerAddress:
    """A broker that several processes hear."""
    address = request.getfixturevalue(f"{request.param}_broker")
    assert isinstance(address, BrokerAddress)
    return address


@pytest.fixture(params=["memory", "redis", "rabbitmq"])
def any_broker(request: pytest.FixtureRequest) -> BrokerAddress:
    if request.param == "memory":
        return BrokerAddress("memory://", "unused")
    address = request.getfixturevalue(f"{request.param}_broker")
    assert isinstance(address, BrokerAddress)
    return address


@pytest.fixture
def quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer that lost its connection tries again at once, not after 3 s."""
    monkeypatch.setattr(dramatiq.worker, "CONSUMER_RESTART_DELAY_SECS", 0.1)
    monkeypatch.setattr(dramatiq.worker, "POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.1)


@pytest.fixture
def proxy_to() -> Iterator[Callable[[BrokerAddress], Proxy]]:
    proxies: list[Proxy] = []

    def make(address: BrokerAddress) -> Proxy:
        parts = urlsplit(address.url)
        default_port = 6379 if parts.scheme.startswith("redis") else 5672
        proxies.append(Proxy(parts.hostname or "127.0.0.1", parts.port or default_port))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()
