"""Messages from outside through a real Redis and a real RabbitMQ, to a plain callable."""

from __future__ import annotations

import gc
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import kombu
import pytest
import redis

from headrace.errors import BrokerUnavailableError, ConfigurationError, ControlUnavailableError
from headrace.ports import Unmet
from headrace.queue import exchange
from headrace.queue import triggers as triggers_module
from headrace.queue.topology import TRIGGERS, TRIGGERS_DEAD
from headrace.queue.triggers import Received, TriggerConsumer
from tests.integration.conftest import BrokerAddress
from tests.integration.waiting import SOON_S, until
from tests.proxy import Proxy
from tests.servers import private_redis

pytestmark = pytest.mark.services


@dataclass
class Outside:
    """A broker of events with a namespace of this test's own, as a publisher sees it."""

    url: str
    namespace: str

    def name(self, name: str) -> str:
        return f"{self.namespace}.{name}"

    def publish(self, *bodies: object, **arguments: object) -> None:
        """As docs/triggers.md does it."""
        queue = kombu.Queue(
            self.name(TRIGGERS), kombu.Exchange(self.name(TRIGGERS)), routing_key=self.name(TRIGGERS)
        )
        with kombu.Connection(self.url, transport_options={"confirm_publish": True}) as connection:
            producer = connection.Producer()
            for body in bodies:
                producer.publish(
                    body, exchange=queue.exchange, routing_key=queue.routing_key, declare=[queue], **arguments
                )

    def waiting(self) -> int:
        """Messages for Headrace, on Redis also those that some consumer holds."""
        name = self.name(TRIGGERS)
        if self.url.startswith("redis"):
            with redis.Redis.from_url(self.url) as client:
                return client.llen(name) + client.hlen(f"{name}.unacked")
        with kombu.Connection(self.url) as connection:
            return int(connection.default_channel.queue_declare(name, passive=True).message_count)

    def dead(self) -> list[kombu.Message]:
        """The dead letters, taken."""
        with kombu.Connection(self.url) as connection:
            queue = kombu.Queue(self.name(TRIGGERS_DEAD))(connection.default_channel)
            found = []
            while (message := queue.get(no_ack=True)) is not None:
                found.append(message)
            return found

    def forget(self) -> None:
        if self.url.startswith("redis"):
            with redis.Redis.from_url(self.url) as client:
                for key in client.scan_iter(f"*{self.namespace}*", count=1000):
                    client.delete(key)
            return
        with kombu.Connection(self.url) as connection:
            for name in (TRIGGERS, TRIGGERS_DEAD):
                connection.default_channel.queue_delete(self.name(name))
            connection.default_channel.exchange_delete(self.name(TRIGGERS))


@pytest.fixture(params=["redis", "rabbitmq"])
def outside(request: pytest.FixtureRequest) -> Iterator[Outside]:
    address = Outside(
        request.getfixturevalue(f"{request.param}_server"), f"headrace-test-{uuid.uuid4().hex[:12]}"
    )
    yield address
    address.forget()


@dataclass
class Inbox:
    """Keeps what it is given; can be told to fail."""

    got: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    failing: threading.Event = field(default_factory=threading.Event)
    failed: threading.Event = field(default_factory=threading.Event)

    def meet(self, messages: Sequence[Received]) -> Sequence[Unmet | None]:
        if self.failing.is_set():
            self.failed.set()
            raise ControlUnavailableError("the control database is away")
        texts = [bytes(message.body).decode(errors="replace") for message in messages]
        self.got += texts
        self.sizes.append(len(texts))
        return [
            Unmet(by="message", code="invalid_request", reason="so it is") if "bad" in text else None
            for text in texts
        ]

    def has(self, *bodies: object) -> bool:
        return [json.dumps(json.loads(text)) for text in self.got] == [json.dumps(body) for body in bodies]


@contextmanager
def consuming(outside: Outside, inbox: Inbox, *, url: str | None = None) -> Iterator[TriggerConsumer]:
    consumer = TriggerConsumer(
        url or outside.url, inbox.meet, namespace=outside.namespace, jitter=random.Random(1)
    )
    stop = threading.Event()
    thread = threading.Thread(target=consumer.run, kwargs={"stop": stop, "beat": lambda: None})
    thread.start()
    try:
        yield consumer
    finally:
        stop.set()
        thread.join(SOON_S)
        assert not thread.is_alive()


def test_a_message_is_met_once_and_gone(outside: Outside) -> None:
    inbox = Inbox()
    with consuming(outside, inbox) as consumer:
        until(lambda: consumer.problems() == [])
        outside.publish({"source": "users"})
        until(lambda: inbox.has({"source": "users"}))
    assert outside.waiting() == 0
    with consuming(outside, inbox) as consumer:
        outside.publish({"source": "second"})
        until(lambda: inbox.has({"source": "users"}, {"source": "second"}))


def test_messages_that_wait_are_met_together(outside: Outside) -> None:
    bodies = [{"source": f"s{n}"} for n in range(50)]
    outside.publish(*bodies)
    inbox = Inbox()
    with consuming(outside, inbox):
        until(lambda: len(inbox.got) == 50)
    assert inbox.has(*bodies)
    assert len(inbox.sizes) < 10


def test_what_cannot_be_met_is_a_dead_letter_with_its_reason_and_the_others_go_on(outside: Outside) -> None:
    inbox = Inbox()
    with consuming(outside, inbox):
        outside.publish({"source": "a"}, {"bad": 1}, {"source": "b"})
        until(lambda: inbox.has({"source": "a"}, {"bad": 1}, {"source": "b"}))
    assert outside.waiting() == 0
    (letter,) = outside.dead()
    assert json.loads(letter.body) == {"bad": 1}
    assert letter.headers["headrace-code"] == "invalid_request"
    assert letter.headers["headrace-reason"] == "so it is"
    assert letter.content_type == "application/json"


def test_bodies_that_are_no_json_arrive_as_they_are(outside: Outside) -> None:
    inbox = Inbox()
    with consuming(outside, inbox):
        outside.publish(b"bad \xff\x00", content_type="application/x-thing", content_encoding="binary")
        outside.publish(
            b"bad pickle", content_type="application/x-python-serialize", content_encoding="binary"
        )
        outside.publish(b"bad zip", headers={"compression": "application/x-gzip"}, content_type="text/plain",
                        content_encoding="utf-8")  # fmt: skip
        until(lambda: len(inbox.got) == 3)
    assert sorted(bytes(letter.body) for letter in outside.dead()) == [
        b"bad pickle",
        b"bad zip",
        b"bad \xff\x00",
    ]


def test_messages_are_kept_while_what_they_need_is_away(outside: Outside) -> None:
    inbox = Inbox()
    inbox.failing.set()
    with consuming(outside, inbox) as consumer:
        outside.publish({"source": "users"})
        assert inbox.failed.wait(SOON_S)
        until(lambda: "away" in "".join(consumer.problems()))
        inbox.failing.clear()
        until(lambda: inbox.has({"source": "users"}))
        until(lambda: consumer.problems() == [])


def test_messages_come_back_from_a_consumer_that_was_stopped_before_it_met_them(outside: Outside) -> None:
    inbox = Inbox()
    inbox.failing.set()
    with consuming(outside, inbox):
        outside.publish({"source": "users"})
        assert inbox.failed.wait(SOON_S)
    until(lambda: outside.waiting() == 1)


def test_a_redis_has_no_connection_of_a_consumer_that_gave_its_messages_back() -> None:
    inbox = Inbox()
    inbox.failing.set()
    gc.disable()  # which closes what is forgotten, sooner or later
    try:
        with private_redis() as server, redis.Redis.from_url(server.url) as client:
            outside = Outside(server.url, "test")
            outside.publish({"source": "users"})
            with consuming(outside, inbox):
                until(inbox.failed.is_set)
            until(lambda: len(client.client_list()) == 1)
            assert outside.waiting() == 1
    finally:
        gc.enable()


def test_a_lost_connection_is_opened_again(
    outside: Outside, proxy_to: Callable[[BrokerAddress], Proxy]
) -> None:
    address = BrokerAddress(outside.url, outside.namespace)
    proxy = proxy_to(address)
    inbox = Inbox()
    with consuming(outside, inbox, url=address.through(proxy.port).url) as consumer:
        outside.publish({"source": "a"})
        until(lambda: inbox.has({"source": "a"}))
        proxy.go_away()
        until(lambda: consumer.problems() != [])
        outside.publish({"source": "b"})
        proxy.come_back()
        until(lambda: inbox.has({"source": "a"}, {"source": "b"}))


def test_a_plain_text_pushed_to_redis_is_a_message(redis_server: str) -> None:
    outside = Outside(redis_server, f"headrace-test-{uuid.uuid4().hex[:12]}")
    inbox = Inbox()
    items = [
        b'{"source": "users"}',
        b"bad text",
        b'{"properties": {"delivery_tag": 7}, "body": "bad"}',
        (
            b'{"body": "!", "headers": {}, "properties": {"body_encoding": "base64", "delivery_tag": "1", '
            b'"delivery_info": {"exchange": "", "routing_key": ""}}, "bad": 1}'
        ),
        b"bad " * 2 + b"[" * 100_000,
    ]
    try:
        with consuming(outside, inbox), redis.Redis.from_url(redis_server) as client:
            for item in items:
                client.lpush(outside.name(TRIGGERS), item)
            until(lambda: len(inbox.got) == len(items))
        assert sorted(text.encode() for text in inbox.got) == sorted(items)
        assert len(outside.dead()) == len(items) - 1
    finally:
        outside.forget()


def test_the_newest_dead_letters_are_kept(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers_module, "MOST_DEAD", 3)
    inbox = Inbox()
    with consuming(outside, inbox):
        outside.publish(*({"bad": n} for n in range(5)))
        until(lambda: len(inbox.got) == 5)
    assert [json.loads(letter.body)["bad"] for letter in outside.dead()] == [2, 3, 4]


def test_a_wrong_password_is_told_and_not_tried_again(rabbitmq_server: str) -> None:
    url = rabbitmq_server.replace("//guest:guest@", "//guest:wrong@")
    with (
        pytest.raises(ConfigurationError, match="HEADRACE_EVENTS_URL") as caught,
        exchange.connected(url, namespace="headrace"),
    ):
        pass
    assert caught.value.code == "broker_login_refused"
    assert "wrong" not in str(caught.value)


def test_an_unreachable_broker_is_an_error_that_passes() -> None:
    for url in ("redis://127.0.0.1:1", "amqp://127.0.0.1:1"):
        began = time.monotonic()
        with pytest.raises(BrokerUnavailableError), exchange.connected(url, namespace="headrace"):
            pass
        assert time.monotonic() - began < 6
