"""Nudges through real brokers, to plain callables."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import kombu
import pytest
import redis

from headrace.domain.vocabulary import DataSourceId, FeedId, ModelId
from headrace.errors import BrokerUnavailableError, ConfigurationError
from headrace.metrics import REGISTRY
from headrace.queue import broker as brokers
from headrace.queue import redis_broker as redis_broker_module
from headrace.queue.consumer import IDLE_WAIT_MS, Consumer, fetch_consumer, merge_consumer
from headrace.queue.nudges import BrokerNudges, nudging
from headrace.queue.redis_broker import SturdyRedisBroker
from headrace.queue.topology import FETCH
from tests.integration.waiting import SOON_S, until


class Inbox:
    """What the callables were given, in order."""

    def __init__(self) -> None:
        self._got: queue.Queue[tuple[object, ...]] = queue.Queue()

    def poll(self, feed_id: FeedId) -> None:
        self._got.put(("poll", feed_id))

    def reconcile(self, feed_id: FeedId, full: bool) -> None:
        self._got.put(("reconcile", feed_id, full))

    def merge(self, data_source_id: DataSourceId, model: ModelId) -> None:
        self._got.put(("merge", data_source_id, model))

    def next(self, timeout_s: float = SOON_S) -> tuple[object, ...]:
        return self._got.get(timeout=timeout_s)

    def quiet(self, for_s: float = 0.3) -> bool:
        try:
            self._got.get(timeout=for_s)
        except queue.Empty:
            return True
        return False


@contextmanager
def running(consumer: Consumer) -> Iterator[Consumer]:
    consumer.start()
    try:
        yield consumer
    finally:
        assert consumer.stop(within_s=SOON_S)


@contextmanager
def fetching(address: Any, inbox: Inbox, *, threads: int = 2) -> Iterator[Consumer]:
    broker = address.open()
    consumer = fetch_consumer(broker, on_poll=inbox.poll, on_reconcile=inbox.reconcile, threads=threads)
    with running(consumer):
        yield consumer
    broker.close()


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_each_nudge_reaches_the_callable_of_its_kind(any_broker: Any) -> None:
    inbox, broker = Inbox(), any_broker.open()
    fetch = fetch_consumer(broker, on_poll=inbox.poll, on_reconcile=inbox.reconcile, threads=1)
    merge = merge_consumer(broker, on_merge=inbox.merge, threads=1)
    with nudging(broker) as nudges, running(fetch), running(merge):
        nudges.poll(FeedId("f1"))
        assert inbox.next() == ("poll", "f1")
        nudges.reconcile(FeedId("f2"), full=True)
        assert inbox.next() == ("reconcile", "f2", True)
        nudges.merge(DataSourceId("main"), ModelId("users"))
        assert inbox.next() == ("merge", "main", "users")


def test_a_message_wakes_an_idle_worker(server_broker: Any) -> None:
    inbox = Inbox()
    with nudging(server_broker.open()) as nudges, fetching(server_broker, inbox):
        nudges.poll(FeedId("warm up"))
        inbox.next()
        waits = []
        for number in range(5):
            time.sleep(0.1)
            sent_at = time.monotonic()
            nudges.poll(FeedId(f"f{number}"))
            inbox.next()
            waits.append(time.monotonic() - sent_at)
        assert min(waits) < IDLE_WAIT_MS / 1000 / 5


def test_a_thread_that_is_free_again_gets_the_next_message_at_once(server_broker: Any) -> None:
    inbox, number = Inbox(), 40
    with nudging(server_broker.open()) as nudges, fetching(server_broker, inbox, threads=1):
        nudges.poll(FeedId("warm up"))
        inbox.next()
        began = time.monotonic()
        for n in range(number):
            nudges.poll(FeedId(f"f{n}"))
        assert {inbox.next() for _ in range(number)} == {("poll", f"f{n}") for n in range(number)}
        # One that slept whenever its threads were busy would sleep after each.
        assert time.monotonic() - began < number * IDLE_WAIT_MS / 1000 / 5


def test_waiting_for_a_message_leaves_the_queue_as_it_is(redis_broker: Any) -> None:
    broker, inbox = redis_broker.open(), Inbox()
    fetch_consumer(broker, on_poll=inbox.poll, on_reconcile=inbox.reconcile, threads=1)  # never started
    with nudging(redis_broker.open()) as nudges:
        for n in range(3):
            nudges.poll(FeedId(f"f{n}"))
    for _ in range(4):
        broker.wait_for_message(broker.queue_name(FETCH), timeout_s=SOON_S)
    got = [json.loads(data)["kwargs"]["message"]["feed_id"] for data in broker.do_fetch(FETCH, 10)]
    assert got == ["f0", "f1", "f2"]
    broker.close()


def test_a_consumer_leaves_the_other_queue_alone(server_broker: Any) -> None:
    inbox = Inbox()
    with nudging(server_broker.open()) as nudges, fetching(server_broker, inbox):
        nudges.merge(DataSourceId("main"), ModelId("users"))
        nudges.poll(FeedId("f1"))
        assert inbox.next() == ("poll", "f1")
        assert inbox.quiet()
    broker = server_broker.open()
    with running(merge_consumer(broker, on_merge=inbox.merge, threads=1)):
        assert inbox.next() == ("merge", "main", "users")
    broker.close()


class HeldBroker(brokers.MemoryBroker):
    """Sends only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()
        self.sent: list[str] = []
        self.sending = threading.Event()

    def enqueue(self, message: Any, *, delay: int | None = None) -> Any:
        self.sending.set()
        assert self.let.wait(SOON_S)
        self.sent.append(message.kwargs["message"]["feed_id"])
        return message


def test_equal_nudges_that_wait_are_one_and_no_caller_waits() -> None:
    broker = HeldBroker()
    nudges = BrokerNudges(broker)
    nudges.poll(FeedId("first"))
    assert broker.sending.wait(SOON_S)
    for _ in range(1000):
        nudges.poll(FeedId("second"))
    broker.let.set()
    assert nudges.close() == 0
    assert broker.sent == ["first", "second"]


def test_a_nudge_that_follows_an_equal_one_is_held_and_never_lost() -> None:
    broker = HeldBroker()
    broker.let.set()
    nudges = BrokerNudges(broker, hold_s=0.05)
    nudges.poll(FeedId("f1"))
    until(lambda: broker.sent == ["f1"])
    nudges.poll(FeedId("f1"))
    until(lambda: broker.sent == ["f1", "f1"])
    nudges.close()


def test_a_handler_that_fails_costs_one_message_and_nothing_else(any_broker: Any) -> None:
    inbox = Inbox()

    def poll(feed_id: FeedId) -> None:
        inbox.poll(feed_id)
        if feed_id == "bad":
            raise RuntimeError("a bug")

    failed = counted("headrace_messages_total", queue=FETCH, outcome="failed")
    broker = any_broker.open()
    consumer = fetch_consumer(broker, on_poll=poll, on_reconcile=inbox.reconcile, threads=1)
    with nudging(broker) as nudges, running(consumer):
        nudges.poll(FeedId("bad"))
        assert inbox.next() == ("poll", "bad")
        nudges.poll(FeedId("good"))
        assert inbox.next() == ("poll", "good")
        assert inbox.quiet()
        assert consumer.alive()
    assert counted("headrace_messages_total", queue=FETCH, outcome="failed") == failed + 1


def sound(wire_queue: str) -> dict[str, Any]:
    return {
        "queue_name": wire_queue,
        "actor_name": "poll_feed",
        "args": [],
        "kwargs": {"message": {"version": 1, "feed_id": "sound"}},
        "options": {"redis_message_id": "m"},
        "message_id": "m",
        "message_timestamp": 1,
    }


BROKEN: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "not JSON": ("malformed", lambda _: b"\x80\x04K\x01."),
    "a pickle of a message": ("malformed", lambda m: __import__("pickle").dumps(m)),
    "no object": ("malformed", lambda _: [1, 2]),
    "a field too few": ("malformed", lambda m: {k: v for k, v in m.items() if k != "kwargs"}),
    "a field too many": ("malformed", lambda m: m | {"evil": 1}),
    "a queue that is not this one": ("malformed", lambda m: m | {"queue_name": "other"}),
    "a delay": ("malformed", lambda m: m | {"options": m["options"] | {"eta": 10**15}}),
    "positional arguments": ("malformed", lambda m: m | {"args": ["sound"]}),
    "arguments that are no object": ("malformed", lambda m: m | {"kwargs": None}),
    "options that are no object": ("malformed", lambda m: m | {"options": None}),
    "an actor that is none": ("unknown", lambda m: m | {"actor_name": "os.system"}),
    "an actor that is no name": ("malformed", lambda m: m | {"actor_name": ["poll_feed"]}),
    "a version from the future": (
        "invalid",
        lambda m: m | {"kwargs": {"message": {"version": 2, "feed_id": "x"}}},
    ),
    "a feed that is no text": (
        "invalid",
        lambda m: m | {"kwargs": {"message": {"version": 1, "feed_id": {"$gt": ""}}}},
    ),
    "arguments that the actor lacks": ("malformed", lambda m: m | {"kwargs": {"self": 1, "queue": 2}}),
    "a message that is no object": ("invalid", lambda m: m | {"kwargs": {"message": "feed"}}),
}


def put_raw(address: Any, body: bytes, message_id: str) -> None:
    if address.url.startswith("redis"):
        with redis.Redis.from_url(address.url) as client:
            client.hset(f"{address.namespace}:{FETCH}.msgs", message_id, body)
            client.rpush(f"{address.namespace}:{FETCH}", message_id)
    else:
        with kombu.Connection(address.url) as connection:
            producer = connection.Producer()
            producer.publish(
                body,
                routing_key=f"{address.namespace}.{FETCH}",
                content_type="x/x",
                content_encoding="binary",
            )


def left_on_server(address: Any) -> object:
    if address.url.startswith("redis"):
        with redis.Redis.from_url(address.url) as client:
            keys = [k.decode() for k in client.scan_iter(f"{address.namespace}:*")]
            return [k for k in keys if not k.endswith("__heartbeats__")]
    with kombu.Connection(address.url) as connection:
        names = [f"{address.namespace}.{FETCH}{suffix}" for suffix in ("", ".DQ", ".XQ")]
        counts = [connection.default_channel.queue_declare(n, passive=True).message_count for n in names]
        return [name for name, count in zip(names, counts, strict=True) if count]


@pytest.mark.parametrize("what", BROKEN)
def test_a_message_that_is_none_is_dropped_counted_and_delays_nobody(server_broker: Any, what: str) -> None:
    outcome, breaking = BROKEN[what]
    inbox = Inbox()
    with nudging(server_broker.open()) as nudges, fetching(server_broker, inbox, threads=1) as consumer:
        nudges.poll(FeedId("before"))
        inbox.next()
        wire_queue = server_broker.open().queue_name(FETCH)
        broken = breaking(sound(wire_queue) | {"options": {"redis_message_id": "raw"}})
        dropped = counted("headrace_messages_total", queue=FETCH, outcome=outcome)
        put_raw(server_broker, broken if isinstance(broken, bytes) else json.dumps(broken).encode(), "raw")
        nudges.poll(FeedId("after"))
        assert inbox.next(timeout_s=2.0) == ("poll", "after")
        assert consumer.alive()
        until(lambda: left_on_server(server_broker) == [])
    assert counted("headrace_messages_total", queue=FETCH, outcome=outcome) == dropped + 1


def test_every_thread_works_and_nothing_waits_behind_a_slow_message(server_broker: Any) -> None:
    inbox, gate = Inbox(), threading.Event()

    def slow(feed_id: FeedId) -> None:
        inbox.poll(feed_id)
        assert gate.wait(SOON_S)

    broker = server_broker.open()
    busy = fetch_consumer(broker, on_poll=slow, on_reconcile=inbox.reconcile, threads=2)
    with nudging(server_broker.open()) as nudges, running(busy):
        for number in range(5):
            nudges.poll(FeedId(f"f{number}"))
        assert {inbox.next(), inbox.next()} == {("poll", "f0"), ("poll", "f1")}
        assert inbox.quiet()
        other = Inbox()
        with fetching(server_broker, other):
            assert {other.next() for _ in range(3)} == {("poll", f"f{n}") for n in (2, 3, 4)}
        gate.set()
    broker.close()


def test_stopping_waits_for_what_runs_and_leaves_the_rest_to_others(server_broker: Any) -> None:
    inbox, gate, ended = Inbox(), threading.Event(), threading.Event()

    def slow(feed_id: FeedId) -> None:
        inbox.poll(feed_id)
        assert gate.wait(SOON_S)
        ended.set()

    broker = server_broker.open()
    consumer = fetch_consumer(broker, on_poll=slow, on_reconcile=inbox.reconcile, threads=1)
    consumer.start()
    with nudging(server_broker.open()) as nudges:
        nudges.poll(FeedId("f1"))
        nudges.poll(FeedId("f2"))
        assert inbox.next() == ("poll", "f1")
        threading.Timer(0.3, gate.set).start()
        assert consumer.stop(within_s=SOON_S)
        assert ended.is_set()
        broker.close()
        other = Inbox()
        with fetching(server_broker, other):
            assert other.next() == ("poll", "f2")
            assert other.quiet()


@pytest.mark.usefixtures("quick_restarts")
def test_stopping_says_when_something_still_runs(any_broker: Any) -> None:
    inbox, gate = Inbox(), threading.Event()

    def stuck(feed_id: FeedId) -> None:
        inbox.poll(feed_id)
        gate.wait(SOON_S)

    broker = any_broker.open()
    consumer = fetch_consumer(broker, on_poll=stuck, on_reconcile=inbox.reconcile, threads=1)
    consumer.start()
    with nudging(broker) as nudges:
        nudges.poll(FeedId("f1"))
        inbox.next()
        assert consumer.stop(within_s=0.2) is False
        gate.set()
        assert consumer.stop(within_s=SOON_S) is True


@pytest.mark.usefixtures("quick_restarts")
def test_workers_and_nudges_outlive_a_broker_that_goes_away(server_broker: Any, proxy_to: Any) -> None:
    proxy = proxy_to(server_broker)
    behind, inbox = server_broker.through(proxy.port), Inbox()
    with nudging(behind.open()) as nudges, fetching(behind, inbox) as consumer:
        nudges.poll(FeedId("before"))
        assert inbox.next() == ("poll", "before")
        for outage in range(2):
            failed = counted("headrace_nudges_total", queue=FETCH, outcome="failed")
            proxy.go_away()
            nudges.poll(FeedId(f"during {outage}"))
            until(
                lambda failed=failed: counted("headrace_nudges_total", queue=FETCH, outcome="failed") > failed
            )
            proxy.come_back()
            # Messages before it may come twice: their acknowledgement went down with the connection.
            until(lambda outage=outage: inbox.next() == ("poll", f"during {outage}"))
        assert consumer.alive()


@pytest.mark.usefixtures("quick_restarts")
def test_a_redis_that_stalls_strands_no_worker(
    redis_broker: Any, proxy_to: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_broker_module, "SOCKET_TIMEOUT_S", 0.3)
    proxy = proxy_to(redis_broker)
    behind, inbox = redis_broker.through(proxy.port), Inbox()
    with nudging(redis_broker.open()) as nudges, fetching(behind, inbox, threads=2) as consumer:
        nudges.poll(FeedId("before"))
        inbox.next()
        proxy.stall()
        for number in range(4):
            nudges.poll(FeedId(f"stalled {number}"))
        time.sleep(1.0)
        proxy.flow()
        until(lambda: redis_length(redis_broker) == 0)
        nudges.poll(FeedId("after"))
        until(lambda: inbox.next() == ("poll", "after"))
        assert consumer.alive()


def redis_length(address: Any) -> int:
    with redis.Redis.from_url(address.url) as client:
        return int(client.llen(f"{address.namespace}:{FETCH}"))


def test_a_redis_that_lost_everything_serves_on(redis_broker: Any, empty_redis: Any) -> None:
    inbox, gate = Inbox(), threading.Event()

    def slow(feed_id: FeedId) -> None:
        inbox.poll(feed_id)
        assert gate.wait(SOON_S)

    broker = redis_broker.open()
    consumer = fetch_consumer(broker, on_poll=slow, on_reconcile=inbox.reconcile, threads=1)
    with nudging(redis_broker.open()) as nudges, running(consumer):
        nudges.poll(FeedId("running"))
        inbox.next()
        nudges.poll(FeedId("lost"))
        until(lambda: redis_length(redis_broker) == 1)
        empty_redis(redis_broker)
        gate.set()
        nudges.poll(FeedId("after"))
        assert inbox.next() == ("poll", "after")
    broker.close()


def test_a_worker_whose_threads_are_all_busy_keeps_its_messages(
    redis_broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_broker_module, "BEAT_EVERY_S", 0.1)
    monkeypatch.setattr(redis_broker_module, "DEAD_AFTER_S", 1.0)
    monkeypatch.setattr(redis_broker_module, "MAINTENANCE_CHANCE", 1_000_000)
    inbox, gate = Inbox(), threading.Event()

    def slow(feed_id: FeedId) -> None:
        inbox.poll(feed_id)
        assert gate.wait(SOON_S)

    broker = redis_broker.open()
    busy = fetch_consumer(broker, on_poll=slow, on_reconcile=inbox.reconcile, threads=1)
    with nudging(redis_broker.open()) as nudges, running(busy):
        nudges.poll(FeedId("f1"))
        inbox.next()
        other = Inbox()
        with fetching(redis_broker, other):
            assert other.quiet(for_s=2.5)
        gate.set()
    broker.close()


def test_messages_of_a_dead_worker_come_back(redis_broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_broker_module, "DEAD_AFTER_S", 0.5)
    dead = redis_broker.open()
    monkeypatch.setattr(redis_broker_module, "MAINTENANCE_CHANCE", 1_000_000)
    dead.declare_queue(FETCH)
    inbox = Inbox()
    with nudging(redis_broker.open()) as nudges:
        nudges.poll(FeedId("f1"))
        until(lambda: redis_length(redis_broker) == 1)
        fetch_consumer(dead, on_poll=inbox.poll, on_reconcile=inbox.reconcile, threads=1)
        assert len(dead.do_fetch(FETCH, 1)) == 1
        with fetching(redis_broker, inbox):
            assert inbox.next() == ("poll", "f1")
    dead.close()


class Evicting(redis.Redis):
    def info(self, section: str | None = None, *args: str, **kwargs: Any) -> Any:
        return super().info(section, *args, **kwargs) | {"maxmemory_policy": "allkeys-lru"}


def test_a_redis_that_may_evict_is_refused(redis_broker: Any) -> None:
    broker = SturdyRedisBroker(client=Evicting.from_url(redis_broker.url), namespace=redis_broker.namespace)
    with pytest.raises(ConfigurationError, match=r"HEADRACE_BROKER_URL: .*allkeys-lru.*noeviction"):
        broker.check()
    broker.close()


def test_a_broker_that_answers_is_fit(any_broker: Any) -> None:
    broker = any_broker.open()
    broker.check()
    broker.close()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "amqp://guest:guest@127.0.0.1:1"])
def test_a_broker_that_is_away_is_retryable_and_its_password_untold(url: str) -> None:
    broker = brokers.make(url.replace("127", "me:s3cret@127") if "@" not in url else url)
    broker.declare_queue(FETCH)
    with pytest.raises(BrokerUnavailableError) as caught:
        broker.check()
    assert "s3cret" not in str(caught.value)
    broker.close()


def test_the_redis_client_never_repeats_a_command_by_itself(redis_broker: Any) -> None:
    client = redis_broker.open().client
    options = client.connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["health_check_interval"]) == (30, 30)
    assert options["retry"].get_retries() == 0
    client.close()


def test_rabbitmq_confirms_what_it_takes(rabbitmq_broker: Any) -> None:
    broker = rabbitmq_broker.open()
    assert broker.confirm_delivery
    broker.close()


@pytest.mark.parametrize("url", ["kafka://host", "host:6379", "", "memory"])
def test_another_broker_is_refused_by_the_setting_s_name(url: str) -> None:
    with pytest.raises(ConfigurationError, match="HEADRACE_BROKER_URL: must start with redis://"):
        brokers.make(url)
