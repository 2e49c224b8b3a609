"""Schedulers: how they wait, and that several send a tick once."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from headrace import process, settings, wiring
from headrace.domain.vocabulary import AppId, DataSourceId, FeedId, ModelId
from headrace.errors import ConfigurationError, ControlUnavailableError, InvariantError
from headrace.observe import Heartbeat
from headrace.ports import Nudge
from headrace.queue import broker as brokers
from headrace.queue.nudges import nudging
from headrace.queue.topology import FETCH
from producers import scheduler
from producers.scheduler import schedule
from tests.integration.waiting import SOON_S, until
from workers.local import run_all

QUICK = settings.Settings(tick_every_s=0.001, sweep_every_s=30, broker_url="memory://")


class Script:
    """An application that does what the test says at each tick, and stops the scheduler at the end."""

    def __init__(self, *ticks: Exception | None) -> None:
        self._ticks = list(ticks)
        self.stop = threading.Event()
        self.swept_at_tick: list[int] = []
        self.tick = 0

    def schedule_tick(self) -> int:
        self.tick += 1
        error = self._ticks.pop(0)
        if not self._ticks:
            self.stop.set()
        if error is not None:
            raise error
        return 1

    def sweep(self) -> int:
        self.swept_at_tick.append(self.tick)
        return 1


def run(script: Script, *, monotonic: Callable[[], float] = time.monotonic) -> None:
    schedule(script, QUICK, stop=script.stop, heartbeat=Heartbeat(), monotonic=monotonic)


def test_sweeps_come_at_once_and_then_at_their_own_pace() -> None:
    script = Script(*[None] * 70)
    run(script, monotonic=lambda: float(script.tick))
    assert script.swept_at_tick == [1, 31, 61]


@pytest.mark.parametrize("error", [ControlUnavailableError("away"), ConfigurationError("nothing is applied")])
def test_what_a_person_or_time_mends_is_waited_for(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "RETRY_EVERY_S", 0.001)
    script = Script(None, error, error, None, None)
    run(script)
    assert script.tick == 5


def test_a_bug_ends_the_scheduler() -> None:
    with pytest.raises(InvariantError):
        run(Script(None, InvariantError("a bug"), None))


def test_the_heart_beats_at_every_tick_though_control_is_away() -> None:
    now = [0.0]
    heartbeat = Heartbeat(monotonic=lambda: now[0])
    script = Script(ControlUnavailableError("away"))
    now[0] = 1000.0
    schedule(script, QUICK, stop=script.stop, heartbeat=heartbeat)
    assert heartbeat.age_s() == 0


class Everything:
    """An application whose feeds each lead to a merge, through the broker."""

    nudge: Nudge
    settings = QUICK
    clock = wiring.SystemClock()

    def __init__(self, done: threading.Event) -> None:
        self.log: list[tuple[str, ...]] = []
        self._done = done

    def control_problems(self) -> list[str]:
        return []

    def schedule_tick(self) -> int:
        if not self.log:
            self.log.append(("tick",))
            self.nudge.poll(FeedId("f1"))
            self.nudge.reconcile(FeedId("f2"), full=True)
        return 0

    def sweep(self) -> int:
        return 0

    def poll(self, feed_id: FeedId) -> None:
        self.log.append(("poll", feed_id))
        self.nudge.merge(DataSourceId("main"), ModelId("users"))

    def app_of(self, feed_id: FeedId) -> AppId:
        return AppId("shop")

    def reconcile(self, feed_id: FeedId, full: bool) -> None:
        self.log.append(("reconcile", feed_id, str(full)))

    def merge(self, data_source_id: DataSourceId, model: ModelId) -> None:
        self.log.append(("merge", data_source_id, model))
        self._done.set()

    def webhooks(self) -> dict[str, Any]:
        return {}

    def listened(self) -> dict[AppId, Any]:
        """No source listens."""
        return {}

    def outboxes(self) -> tuple[()]:
        """No data source has events."""
        return ()

    def close(self) -> None:
        self.log.append(("closed",))


def test_one_process_schedules_fetches_and_merges() -> None:
    local = process.Process("up", QUICK)
    app = Everything(local.stop)
    run_all(local, app)
    assert app.log[0] == ("tick",)
    assert app.log[-1] == ("closed",)
    assert set(app.log[1:-1]) == {("poll", "f1"), ("reconcile", "f2", "True"), ("merge", "main", "users")}


def test_one_process_ends_with_the_error_of_its_scheduler() -> None:
    class Broken(Everything):
        def schedule_tick(self) -> int:
            raise InvariantError("a bug")

    app = Broken(threading.Event())
    with pytest.raises(InvariantError, match="a bug"):
        run_all(process.Process("up", QUICK), app)
    assert app.log == [("closed",)]


FEEDS = 6


@pytest.fixture
def applied(tmp_path: Path, postgres_database: str, redis_broker: Any) -> settings.Settings:
    """The settings of an installation with some feeds that are due every second."""
    with sqlite3.connect(tmp_path / "shop.db") as source:
        for number in range(FEEDS):
            source.execute(f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY, updated_at TEXT)")
    source.close()
    write_definitions(tmp_path)
    loaded = settings.load(
        config_dir=tmp_path / "config",
        control_url=postgres_database,
        broker_url=redis_broker.url,
        queue_namespace=redis_broker.namespace,
        tick_every_s=0.01,
    )
    with wiring.build(loaded, process="test") as app:
        app.apply(app.definitions())
    return loaded


def write_definitions(directory: Path) -> None:
    def write(name: str, body: dict[str, Any]) -> None:
        path = directory / "config" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(body))

    write("apps/shop", {"name": "Shop", "type": "sqlite", "url": f"sqlite:///{directory / 'shop.db'}"})
    write("schemas/shop", {"name": "Shop"})
    write("visibility_groups/production", {"name": "Production"})
    write(
        "data_sources/main",
        {
            "nickname": "Main",
            "provided_id": "main",
            "schema": "shop",
            "visibility_groups": ["production"],
            "default_for": ["production"],
            "type": "sqlite",
            "url": f"sqlite:///{directory / 'store.db'}",
        },
    )
    for number in range(FEEDS):
        write(f"models/m{number}", {"name": f"M{number}", "schema": "shop"})
        write(
            f"sources/s{number}",
            {
                "name": f"S{number}",
                "model": f"m{number}",
                "primary": True,
                "app": "shop",
                "table": f"t{number}",
                "key": ["id"],
                "schedule": {"every": "1s", "cursor": "updated_at", "clock": "database"},
                "properties": {f"id{number}": {"type": "integer", "column": "id"}},
            },
        )


def test_two_schedulers_send_each_tick_once(applied: settings.Settings, redis_broker: Any) -> None:
    stop = threading.Event()

    def run_one() -> None:
        broker = brokers.shared(applied)
        with wiring.build(applied, process="scheduler") as app, nudging(broker) as app.nudge:
            schedule(app, applied, stop=stop, heartbeat=Heartbeat())

    two = [threading.Thread(target=run_one) for _ in range(2)]
    try:
        for one in two:
            one.start()
        # Nobody polls, so each feed is due once, and again only when its nudge counts as lost (30 s).
        until(lambda: len(sent(redis_broker)) >= FEEDS)
        time.sleep(1.0)
        assert sorted(Counter(sent(redis_broker)).values()) == [1] * FEEDS
        assert all(one.is_alive() for one in two)
    finally:
        stop.set()
        for one in two:
            one.join(SOON_S)
    assert not any(one.is_alive() for one in two)


def sent(address: Any) -> list[str]:
    """The feed of each message that waits."""
    with redis.Redis.from_url(address.url) as client:
        messages = client.hvals(f"{address.namespace}:{FETCH}.msgs")
    return [json.loads(message)["kwargs"]["message"]["feed_id"] for message in messages]
