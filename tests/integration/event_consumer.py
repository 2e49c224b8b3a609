"""A consumer of record events, and a data source that makes them."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import kombu
import redis

from headrace.domain.record_event import EXCHANGE
from headrace.domain.vocabulary import ModelId
from headrace.ports import RecordStore
from headrace.stores import open_store
from tests.conformance.store_rows import ACME, batch, model, primary, scope
from tests.integration.waiting import until

USERS = primary({"user_id": "integer", "email": "email"})
MODEL = model(USERS)
NAMES = ModelId("users")


@contextmanager
def loud_store(url: str) -> Iterator[RecordStore]:
    """A data source that makes events for the exchange."""
    place = {"data_source_id": "main", "url": url, "namespace": "headrace", "workspace": "w1"}
    with closing(open_store(**place, schema="shop", events=True)) as store:
        store.prepare([MODEL])
        assert store.outbox is not None
        store.outbox.begin([EXCHANGE], [NAMES])
        yield store


def put(store: RecordStore, *rows: tuple[int, str | None]) -> None:
    """One transaction: users by id and email; None for an email deletes."""
    with store.merging(MODEL) as transaction:
        assert transaction is not None
        given = [{"user_id": id_, "email": email, "_deleted": email is None} for id_, email in rows]
        transaction.apply_rows(scope(USERS, ACME), batch(USERS, given))
        transaction.recompute()


@dataclass
class Consumer:
    """Takes events as docs/events.md says, and keeps a copy of the records by them alone."""

    url: str
    namespace: str = field(default_factory=lambda: f"headrace-test-{uuid.uuid4().hex[:12]}")
    pattern: str = "#"
    messages: list[dict[str, Any]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    copy: dict[int, str] = field(default_factory=dict)
    duplicates: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def queue(self) -> kombu.Queue:
        exchange = kombu.Exchange(f"{self.namespace}.{EXCHANGE}", type="topic")
        return kombu.Queue(f"{self.namespace}.mine", exchange, routing_key=self.pattern)

    def bind(self) -> None:
        with kombu.Connection(self.url) as connection:
            self.queue(connection.default_channel).declare()

    @contextmanager
    def consuming(self) -> Iterator[None]:
        self.bind()
        thread = threading.Thread(target=self._consume, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join(20)
            self.forget()

    def _consume(self) -> None:
        while not self.stop.is_set():
            with (
                suppress(OSError, kombu.exceptions.OperationalError, redis.RedisError, AttributeError),
                kombu.Connection(self.url) as connection,
                connection.Consumer([self.queue], on_message=self._take, prefetch_count=50),
            ):
                while not self.stop.is_set():
                    with suppress(TimeoutError):
                        connection.drain_events(timeout=0.2)

    def _take(self, message: kombu.Message) -> None:
        body = message.body if isinstance(message.body, (str, bytes)) else bytes(message.body)
        event = json.loads(body)
        self.messages.append(event)
        if event["id"] in self.ids:
            self.duplicates += 1
        else:
            self.ids.add(event["id"])
            data = event["data"]
            (key,) = data["key"].values()
            if data["record"] is None:
                del self.copy[key]
            else:
                self.copy[key] = data["record"]["email"]
        message.ack()

    def follows(self, records: dict[int, str]) -> None:
        """Sooner or later the copy is these records."""
        until(lambda: self.copy == records)

    def forget(self) -> None:
        if self.url.startswith("redis"):
            with redis.Redis.from_url(self.url) as client:
                for key in client.scan_iter(f"*{self.namespace}*", count=1000):
                    client.delete(key)
            return
        with kombu.Connection(self.url) as connection:
            connection.default_channel.queue_delete(self.queue.name)
            connection.default_channel.exchange_delete(self.queue.exchange.name)
