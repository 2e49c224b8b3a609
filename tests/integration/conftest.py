"""Brokers for tests, each with its own names on the server that are removed afterwards; and the example
project, for commands."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import dramatiq.worker
import pytest
import redis

from headrace.cli.main import main
from headrace.queue import broker as brokers
from headrace.queue.checked import Broker
from headrace.queue.topology import FETCH, MERGE
from tests.integration.command import HEADRACE, Command, Ended
from tests.integration.world import Seen, prepared, world_of
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


@pytest.fixture(scope="session")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, synced once; copied for each test."""
    directory = tmp_path_factory.mktemp("example") / "project"
    subprocess.run([HEADRACE, "init", str(directory), "--example"], check=True, capture_output=True)
    subprocess.run([HEADRACE, "sync"], cwd=directory, check=True, capture_output=True)
    return directory


@pytest.fixture
def project(synced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The synced example, to be changed; the current directory."""
    copy = tmp_path / "project"
    shutil.copytree(synced, copy)
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def headrace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["headrace", *arguments])
        capsys.readouterr()
        code = main()
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    for name in ("HEADRACE_CONFIG_DIR", "HEADRACE_CONTROL_URL", "HEADRACE_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)
    return run


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An applied world without rows of its own; copied for each test."""
    return prepared(tmp_path_factory.mktemp("worlds") / "template")


@pytest.fixture
def world(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    with world_of(template, tmp_path / "world", monkeypatch) as world:
        yield world
