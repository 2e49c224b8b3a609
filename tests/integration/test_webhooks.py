"""Record events that are posted to endpoints of others: real HTTP, real outboxes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.cloud_event import CloudEvent, Origin
from headrace.domain.vocabulary import DataSourceId
from headrace.ports import RecordStore
from headrace.ports.relaying import Backlog
from headrace.steps.relay import RelayStep
from headrace.webhooks.endpoint import Endpoint
from headrace.wiring import SystemClock
from tests.integration.event_consumer import NAMES, loud_store, put

ORIGIN = Origin(workspace="w1", data_source=DataSourceId("main"), schema="shop")
KEY = b"k" * 32
NOW_S = 1_767_323_045


@dataclass
class Receiver:
    """An endpoint; `answer` gives the status of the answer to each event."""

    answer: Callable[[dict[str, Any]], int] = lambda event: 204
    got: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def emails(self, key: int) -> list[str]:
        """Those of one record, in the order in which its events were taken."""
        return [e["data"]["record"]["email"] for e in self.got if e["data"]["key"] == {"user_id": key}]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made, lock = Receiver(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            event = json.loads(body)
            status = made.answer(event)
            with lock:
                if status < 300:
                    made.got.append(event)
                    made.headers.append(
                        {**{k.lower(): v for k, v in self.headers.items()}, "body": body.decode()}
                    )
            self.send_response(status)
            self.send_header("Location", made.url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RecordStore]:
    with loud_store(f"sqlite:///{tmp_path}/store.db") as store:
        assert store.outbox is not None
        store.outbox.begin(["crm", "erp"], [NAMES])
        yield store


@contextmanager
def endpoint(url: str, id_: str = "crm", **options: Any) -> Iterator[Endpoint]:
    given = {"patterns": ["#"], "data_sources": None, "give_up_s": 3600.0, **options}
    made = Endpoint(id_, url=url, key=KEY, now_s=lambda: NOW_S, agent="headrace/1", **given)
    made.longest_retry_s = -1.0  # at once
    with closing(made):
        yield made


def drain(store: RecordStore, sink: Endpoint) -> int:
    step = RelayStep(holder="r1", clock=SystemClock(), random=random.Random(1), stopping=lambda: False)
    assert store.outbox is not None
    return step.drain(store.outbox, ORIGIN, sink)


def backlog(store: RecordStore, sink: str = "crm") -> Backlog:
    assert store.outbox is not None
    return next(b for b in store.outbox.backlog() if b.sink == sink)


def test_an_event_is_posted_with_a_signature_that_a_receiver_can_check(
    store: RecordStore, receiver: Receiver
) -> None:
    with endpoint(receiver.url) as crm:
        put(store, (1, "a@b.c"))
        assert drain(store, crm) == 1
    (headers,) = receiver.headers
    assert headers["content-type"] == "application/cloudevents+json"
    assert headers["user-agent"] == "headrace/1"
    assert headers["webhook-id"] == receiver.got[0]["id"]
    # As Standard Webhooks' verifiers do it.
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{headers['body']}".encode()
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-timestamp"] == str(NOW_S)


def test_the_events_of_a_record_are_posted_in_order_beside_those_of_others(
    store: RecordStore, receiver: Receiver
) -> None:
    with endpoint(receiver.url) as crm:
        for turn in range(5):
            put(store, *((number, f"{turn}@b.c") for number in range(1, 13)))
        assert drain(store, crm) == 60
    for number in range(1, 13):
        assert receiver.emails(number) == [f"{turn}@b.c" for turn in range(5)]


def test_only_events_that_are_asked_for_are_posted(store: RecordStore, receiver: Receiver) -> None:
    put(store, (1, "a@b.c"))
    put(store, (1, None))
    with endpoint(receiver.url, patterns=["shop.*.deleted"]) as crm:
        assert drain(store, crm) == 1
    with endpoint(receiver.url, "erp", data_sources=["other"]) as erp:
        assert drain(store, erp) == 0
    assert [event["type"] for event in receiver.got] == ["headrace.record.deleted"]
    assert backlog(store, "erp").pending == 0


@pytest.mark.parametrize("status", [500, 503, 429, 404, 302])
def test_an_endpoint_that_is_away_delays_only_its_own_events(
    store: RecordStore, receiver: Receiver, status: int
) -> None:
    receiver.answer = lambda event: status
    put(store, (1, "a@b.c"), (2, "b@b.c"))
    with endpoint(receiver.url) as crm:
        drain(store, crm)
        told = backlog(store)
        assert (told.pending, told.failures, told.error) == (2, 1, f"answered {status}")
        receiver.answer = lambda event: 200
        with endpoint(receiver.url, "erp") as erp:
            assert drain(store, erp) == 2
        assert drain(store, crm) == 2
    assert (backlog(store).pending, backlog(store).error) == (0, None)


def test_an_endpoint_that_nobody_listens_at_is_told_without_its_url(store: RecordStore) -> None:
    put(store, (1, "a@b.c"))
    with endpoint("http://127.0.0.1:1/secret") as crm:
        drain(store, crm)
    assert backlog(store).error == "cannot be reached: ConnectError"


def test_a_refused_event_keeps_back_its_own_record_alone_and_is_set_aside_in_the_end(
    store: RecordStore, receiver: Receiver
) -> None:
    receiver.answer = lambda event: 422 if event["data"]["record"]["email"] == "bad@b.c" else 200
    put(store, (1, "bad@b.c"))
    put(store, (1, "good@b.c"), (2, "b@b.c"))
    with endpoint(receiver.url) as crm:
        drain(store, crm)
        assert (receiver.emails(1), receiver.emails(2)) == ([], ["b@b.c"])
        assert (backlog(store).error, backlog(store).set_aside) == ("answered 422", 0)
        crm.give_up_event_s = 0.0
        drain(store, crm)
        assert (receiver.emails(1), receiver.emails(2)) == (["good@b.c"], ["b@b.c"])
        assert (backlog(store).pending, backlog(store).set_aside) == (0, 1)


def test_what_was_set_aside_is_posted_again_when_asked_for(store: RecordStore, receiver: Receiver) -> None:
    receiver.answer = lambda event: 400
    put(store, (1, "a@b.c"))
    with endpoint(receiver.url) as crm:
        crm.give_up_event_s = 0.0
        drain(store, crm)
        drain(store, crm)
        assert backlog(store).set_aside == 1
        assert store.outbox is not None
        store.outbox.replay("crm")
        drain(store, crm)
        assert backlog(store).set_aside == 1, "it was refused again"
        receiver.answer = lambda event: 200
        assert drain(store, crm) == 0, "and is not tried by itself"
        store.outbox.replay("crm")
        assert drain(store, crm) == 1
    assert (receiver.emails(1), backlog(store).set_aside) == (["a@b.c"], 0)


def test_one_that_is_refused_again_keeps_back_none_that_was_asked_for_with_it(
    store: RecordStore, receiver: Receiver
) -> None:
    receiver.answer = lambda event: 400
    put(store, (1, "bad@b.c"), (2, "b@b.c"))
    with endpoint(receiver.url) as crm:
        crm.give_up_event_s = 0.0
        while drain(store, crm) or backlog(store).set_aside < 2:
            pass
        assert store.outbox is not None
        store.outbox.replay("crm")
        receiver.answer = lambda event: 400 if event["data"]["record"]["email"] == "bad@b.c" else 200
        assert drain(store, crm) == 1
    assert (receiver.emails(2), backlog(store).set_aside) == (["b@b.c"], 1)


def test_events_older_than_the_endpoint_may_take_are_set_aside(
    store: RecordStore, receiver: Receiver
) -> None:
    receiver.answer = lambda event: 500
    put(store, (1, "a@b.c"), (2, "b@b.c"))
    with endpoint(receiver.url, give_up_s=-60.0) as crm:
        drain(store, crm)
        assert backlog(store).set_aside == 0, "each is tried again first"
        drain(store, crm)
        assert (backlog(store).pending, backlog(store).set_aside) == (0, 2)
        put(store, (3, "c@b.c"))
        receiver.answer = lambda event: 200
        drain(store, crm)
    assert receiver.emails(3) == ["c@b.c"]


def test_what_was_not_tried_is_not_blamed_for_what_another_event_was_refused_for() -> None:
    def event(number: int, record: str) -> CloudEvent:
        return CloudEvent(seq=number, id=str(number), routing_key="a.b.c", record=("c", record), body=b"{}")

    with endpoint("http://127.0.0.1:1/") as crm:
        told = crm.deliver([event(1, "x"), event(2, "y"), event(3, "x")])
    assert told.count == 0
    assert told.failure is not None
    assert not told.failure.of_event
