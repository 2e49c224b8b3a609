"""Record events through a real Redis and a real RabbitMQ."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import kombu
import pytest

from headrace.domain.cloud_event import CloudEvent, Origin
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import BrokerUnavailableError
from headrace.ports import RecordStore
from headrace.ports.relaying import Delivered
from headrace.queue.records import RecordExchange
from headrace.steps.relay import RelayStep
from headrace.wiring import SystemClock
from tests.integration.event_consumer import Consumer, loud_store, put
from tests.proxy import Proxy

pytestmark = pytest.mark.services
ORIGIN = Origin(workspace="w1", data_source=DataSourceId("main"), schema="shop")


@pytest.fixture(params=["redis", "rabbitmq"])
def consumer(request: pytest.FixtureRequest) -> Iterator[Consumer]:
    made = Consumer(request.getfixturevalue(f"{request.param}_server"))
    yield made
    made.forget()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RecordStore]:
    with loud_store(f"sqlite:///{tmp_path}/store.db") as store:
        yield store


def exchange_of(consumer: Consumer, url: str | None = None) -> RecordExchange:
    return RecordExchange(url or consumer.url, namespace=consumer.namespace)


def drain(store: RecordStore, exchange: RecordExchange) -> int:
    step = RelayStep(holder="r1", clock=SystemClock(), random=random.Random(1), stopping=lambda: False)
    assert store.outbox is not None
    return step.drain(store.outbox, ORIGIN, exchange)


def event(number: int, routing_key: str = "shop.users.created") -> CloudEvent:
    return CloudEvent(seq=number, id=str(number), routing_key=routing_key, record=("c", "k"), body=b"{}")


def test_events_reach_a_bound_queue_in_order(consumer: Consumer, store: RecordStore) -> None:
    with consumer.consuming(), closing(exchange_of(consumer)) as exchange:
        put(store, (1, "a@b.c"), (2, "b@b.c"))
        put(store, (1, "x@b.c"), (2, None))
        assert drain(store, exchange) == 4
        consumer.follows({1: "x@b.c"})
        assert drain(store, exchange) == 0
        assert [m["type"] for m in consumer.messages if m["data"]["key"]["user_id"] == 2] == [
            "headrace.record.created",
            "headrace.record.deleted",
        ]


def test_a_message_says_what_it_is(consumer: Consumer) -> None:
    consumer.bind()
    with closing(exchange_of(consumer)) as exchange, kombu.Connection(consumer.url) as connection:
        exchange.deliver([event(7)])
        message = consumer.queue(connection.default_channel).get(no_ack=True)
    assert (message.content_type, message.content_encoding) == ("application/cloudevents+json", "utf-8")
    assert (message.properties["message_id"], message.properties["delivery_mode"]) == ("7", 2)


def test_events_that_no_queue_is_bound_to_are_counted_and_kept_nowhere(consumer: Consumer) -> None:
    consumer.pattern = "shop.users.*"
    consumer.bind()
    with closing(exchange_of(consumer)) as exchange:
        told = exchange.deliver([event(1), event(2, "shop.accounts.created"), event(3)])
        assert told == Delivered(count=3, unrouted=1)
        consumer.forget()
        assert exchange_of(consumer).deliver([event(4)]) == Delivered(count=1, unrouted=1)


def test_pages_are_confirmed_one_after_the_other(consumer: Consumer) -> None:
    consumer.bind()
    with closing(exchange_of(consumer)) as exchange:
        for page in range(3):
            numbers = range(page * 500, page * 500 + 500)
            assert exchange.deliver([event(number) for number in numbers]).unrouted == 0
    with kombu.Connection(consumer.url) as connection:
        queue = consumer.queue(connection.default_channel)
        assert [queue.get(no_ack=True).properties["message_id"] for _ in range(1500)] == [
            str(number) for number in range(1500)
        ]


def test_what_a_broken_connection_left_unconfirmed_is_sent_again(
    consumer: Consumer, store: RecordStore
) -> None:
    parts = urlsplit(consumer.url)
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    with (
        closing(Proxy(parts.hostname or "", parts.port or 0)) as proxy,
        closing(
            exchange_of(consumer, urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{proxy.port}")))
        ) as exchange,
        consumer.consuming(),
    ):
        put(store, (1, "a@b.c"))
        drain(store, exchange)
        proxy.reset()
        put(store, (1, "b@b.c"))
        for _ in range(3):
            try:
                drain(store, exchange)
            except BrokerUnavailableError:
                continue
        consumer.follows({1: "b@b.c"})
        proxy.go_away()
        put(store, (1, "c@b.c"))
        with pytest.raises(BrokerUnavailableError):
            drain(store, exchange)
        proxy.come_back()
        drain(store, exchange)
        consumer.follows({1: "c@b.c"})


def test_an_idle_exchange_keeps_no_connection(consumer: Consumer) -> None:
    moment = [0.0]
    exchange = RecordExchange(consumer.url, namespace=consumer.namespace, monotonic=lambda: moment[0])
    exchange.check()
    exchange.rest()
    assert exchange._kept is not None
    moment[0] = 60.0
    exchange.rest()
    assert exchange._kept is None
    exchange.check()
    exchange.close()
