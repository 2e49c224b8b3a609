"""Sources are read when their PostgreSQL notifies, whatever happens to the connection meanwhile."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.vocabulary import FeedId
from headrace.metrics import REGISTRY
from headrace.sources.postgres_listen import APPLICATION_NAME
from producers import listening
from producers.listening import Listening
from tests.acceptance.project import execute, query
from tests.integration.shop import Shop
from tests.integration.waiting import until

pytestmark = pytest.mark.services

BACKENDS = (
    f"FROM pg_stat_activity WHERE application_name = '{APPLICATION_NAME}' AND datname = current_database()"
)


class Polls:
    """Implements `ports.Nudge`: notes the feeds that are to be polled."""

    def __init__(self) -> None:
        self.told: list[FeedId] = []

    def poll(self, feed_id: FeedId) -> None:
        self.told.append(feed_id)

    def merge(self, data_source_id: object, model: object) -> None: ...

    def reconcile(self, feed_id: FeedId, *, full: bool) -> None: ...


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "backoff_s", lambda *_: 0.05)
    monkeypatch.setattr(listening, "LOOK_EVERY_S", 0.05)


@pytest.fixture
def shop(postgres_database: str, tmp_path: Path) -> Iterator[Shop]:
    """Both sources listen: users to `users`, orders to `orders`."""
    with Shop.opened("postgres", postgres_database, tmp_path) as shop:
        for source in ("users", "orders"):
            listen(shop, source, source)
        shop.apply()
        yield shop


def listen(shop: Shop, source: str, channel: str | None) -> None:
    body = shop.definition(f"sources/{source}")
    body["schedule"].pop("listen", None)
    shop.define(
        f"sources/{source}", body | {"schedule": body["schedule"] | ({"listen": channel} if channel else {})}
    )


@contextmanager
def listened(shop: Shop) -> Iterator[Polls]:
    """Somebody listens, and what was asked for as it began is forgotten."""
    stop, polls = threading.Event(), Polls()
    thread = threading.Thread(target=Listening(shop.app, chance=random.Random(7)).run, kwargs={"stop": stop})
    with shop.app.nudging(polls):
        thread.start()
        try:
            until(lambda: is_listening() == 1)
            until(lambda: set(polls.told) == {shop.feed("users"), shop.feed("orders")})
            polls.told.clear()
            yield polls
        finally:
            stop.set()
            thread.join()
    assert is_listening() is None
    assert backends(shop) == []


def is_listening() -> float | None:
    return REGISTRY.get_sample_value("headrace_listening", {"app": "app"})


def backends(shop: Shop) -> list[int]:
    return [pid for (pid,) in query(shop.url, f"SELECT pid {BACKENDS}")]


def notify(shop: Shop, channel: str, payload: object = "") -> None:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    execute(shop.url, f"SELECT pg_notify('{channel}', '{text}')")


def told(shop: Shop) -> list[tuple[Any, ...]]:
    """Who asked for what, the last first."""
    return [(t.asked_by, t.source_id, t.keys, t.outcome, t.reason) for t in shop.app.triggers.told(limit=20)]


def test_a_notification_has_the_sources_of_its_channel_read(shop: Shop) -> None:
    with listened(shop) as polls:
        shop.rename(1, "Ada")
        notify(shop, "users")
        until(lambda: polls.told == [shop.feed("users")])
        shop.app.poll(shop.feed("users"))
        shop.sync()
        shop.assert_equal()
        notify(shop, "nobody listens")
        notify(shop, "orders")
        until(lambda: len(polls.told) == 2)
    assert polls.told == [shop.feed("users"), shop.feed("orders")]
    assert {line[0] for line in told(shop)} == {"listen:app"}


def test_it_comes_with_the_commit_and_not_before(shop: Shop) -> None:
    with listened(shop) as polls:
        execute(shop.url, "BEGIN; SELECT pg_notify('users', ''); ROLLBACK")
        notify(shop, "orders")
        until(lambda: polls.told)
    assert polls.told == [shop.feed("orders")]


def test_keys_are_fetched_alone(shop: Shop) -> None:
    with listened(shop) as polls:
        execute(shop.url, "DELETE FROM orders WHERE user_id = 2", "DELETE FROM users WHERE id = 2")
        notify(shop, "users", {"keys": [[2]]})
        notify(shop, "orders", {"keys": [["2"]]})
        until(lambda: len(polls.told) == 2)
    shop.sync()
    shop.assert_equal()
    assert [row[0] for row in shop.records()] == [1, 3]


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ("17 has changed", "Invalid JSON"),
        ("[1]", "object"),
        ({"rows": [1]}, "rows: Extra inputs"),
        ({"keys": [["x"]]}, "is no key of users"),
        ({"app": "other"}, "no such source"),
    ],
    ids=["no JSON", "no object", "another's object", "no key", "another app"],
)
def test_a_wrong_payload_is_told_and_has_all_that_changed_read(shop: Shop, payload: object, why: str) -> None:
    with listened(shop) as polls:
        notify(shop, "users", payload)
        until(lambda: polls.told)
    assert polls.told == [shop.feed("users")]
    (rejected,) = [line for line in told(shop) if line[3] == "rejected"]
    assert rejected[:3] == ("listen:app", "users", 0)
    assert why in rejected[4]


def test_a_source_that_does_not_listen_cannot_be_named(shop: Shop) -> None:
    with listened(shop) as polls:
        notify(shop, "users", {"source": "orders"})
        notify(shop, "users")
        until(lambda: polls.told)
    assert polls.told == [shop.feed("users")]
    assert (
        "listen:app",
        "orders",
        0,
        "rejected",
        "not_found: source: it does not listen to this channel",
    ) in told(shop)


def test_several_sources_may_listen_to_one_channel(shop: Shop) -> None:
    listen(shop, "orders", "users")
    shop.apply()
    with listened(shop) as polls:
        notify(shop, "users")
        until(lambda: set(polls.told) == {shop.feed("users"), shop.feed("orders")})
        polls.told.clear()
        notify(shop, "users", {"source": "orders"})
        until(lambda: polls.told)
    assert polls.told == [shop.feed("orders")]


def test_a_lost_connection_is_made_again_and_all_is_read_that_may_have_been_missed(shop: Shop) -> None:
    with listened(shop) as polls:
        (before,) = backends(shop)
        execute(shop.url, f"SELECT pg_terminate_backend(pid) {BACKENDS}")
        until(lambda: set(polls.told) == {shop.feed("users"), shop.feed("orders")})
        polls.told.clear()
        (after,) = backends(shop)
        assert after != before
        notify(shop, "users")
        until(lambda: polls.told)
    assert polls.told == [shop.feed("users")]


def test_what_is_applied_meanwhile_is_followed(shop: Shop) -> None:
    with listened(shop) as polls:
        listen(shop, "users", "people")
        listen(shop, "orders", None)
        shop.apply()
        until(lambda: polls.told == [shop.feed("users")])
        polls.told.clear()
        for channel in ("orders", "users", "people"):
            notify(shop, channel)
        until(lambda: polls.told)
        assert polls.told == [shop.feed("users")]
        assert len(backends(shop)) == 1
        listen(shop, "users", None)
        shop.apply()
        until(lambda: backends(shop) == [])
        listen(shop, "users", "people")
        shop.apply()
        until(lambda: is_listening() == 1)


def test_nothing_is_lost_when_it_cannot_be_kept(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control database is away when a notification comes."""
    record, failures = shop.app.triggers.record, iter([True])

    def away_once(*arguments: Any) -> Any:
        if next(failures, False):
            from headrace.errors import ControlUnavailableError

            raise ControlUnavailableError("it is away")
        return record(*arguments)

    with listened(shop) as polls:
        monkeypatch.setattr(shop.app.triggers, "record", away_once)
        notify(shop, "users")
        until(lambda: set(polls.told) == {shop.feed("users"), shop.feed("orders")})


def test_what_it_does_not_expect_ends_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    notified, failures = shop.app.triggering.notified, iter([True])

    def a_bug(*arguments: Any) -> Any:
        if next(failures, False):
            raise ZeroDivisionError
        return notified(*arguments)

    with listened(shop) as polls:
        monkeypatch.setattr(type(shop.app.triggering), "notified", lambda _, *arguments: a_bug(*arguments))
        notify(shop, "users")
        until(lambda: len(polls.told) >= 2)
