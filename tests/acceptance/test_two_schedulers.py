"""Two schedulers, either of which dies or freezes at any moment: each tick is polled once."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count, pairwise
from pathlib import Path

import pytest

from headrace.domain.schedule import Duration, jitter
from headrace.domain.vocabulary import FeedId
from tests.acceptance.conftest import NewDatabase
from tests.acceptance.procfile import Running
from tests.acceptance.project import Project, query
from tests.acceptance.small_shop import add_user, over_servers, until
from tests.acceptance.survival import ENVIRONMENT
from tests.acceptance.test_move_killed import in_thread

pytestmark = pytest.mark.services

EVERY = Duration.parse("1s")
SCHEDULERS = ("one", "two")
ROUNDS = 8
FROZEN_S = 4.0
"""Longer than a lease, and than a nudge waits until it is taken for lost."""
SLOW_S = 6.0
"""What a slow machine may take for a poll, beside what the settings say."""


@pytest.fixture
def shop(new_database: NewDatabase, redis_server: str, tmp_path: Path) -> Iterator[Project]:
    with over_servers(tmp_path / "shop", new_database, redis_server, every=str(EVERY)) as project:
        yield project


def test_each_tick_is_polled_once_though_schedulers_die_and_freeze(shop: Project) -> None:
    numbers, rng = count(1), random.Random(11)

    def write() -> None:
        add_user(shop, next(numbers))  # every poll finds something, so that it leaves a run
        time.sleep(0.1)

    with running(shop) as fleet, in_thread(write, threading.Event()):
        until(lambda: ticks(shop), "nothing is polled")
        for number in range(ROUNDS):
            name = SCHEDULERS[number % 2]
            time.sleep(rng.uniform(0.2, 1.2))
            if number in {3, 6}:
                freeze(fleet, name)
            else:
                fleet.processes[name].kill()
                time.sleep(rng.uniform(0.0, 1.0))
                fleet.start(shop, name, "producers.scheduler")
        time.sleep(2 * EVERY.seconds)
    polled, last = ticks(shop), next(numbers) - 1
    assert len(polled) == len({tick for tick, _ in polled}), "a tick was polled twice"
    longest = max(later - earlier for (_, earlier), (_, later) in pairwise(polled))
    resent_after_s = float(ENVIRONMENT["HEADRACE_RESEND_AFTER_S"])
    assert longest < timedelta(seconds=EVERY.seconds + resent_after_s + SLOW_S), "ticks were lost"
    assert len(polled) >= ROUNDS
    shop.headrace("sync")
    (stored,) = query(shop.environment["STORE_URL"], "SELECT count(*), max(id) FROM headrace.users")
    assert stored == (last, last)


@contextmanager
def running(shop: Project) -> Iterator[Running]:
    """Both schedulers and a worker of each kind, which end well."""
    fleet = Running()
    try:
        for name in SCHEDULERS:
            fleet.start(shop, name, "producers.scheduler")
        for name in ("fetch", "merge"):
            fleet.start(shop, name, f"workers.{name}")
        yield fleet
        ended = {name: process.stop(limit_s=30) for name, process in fleet.processes.items()}
        assert ended == dict.fromkeys(fleet.processes, 0)
    finally:
        for process in fleet.processes.values():
            process.discard()


def freeze(fleet: Running, name: str) -> None:
    process = fleet.processes[name]
    process.popen.send_signal(signal.SIGSTOP)
    time.sleep(FROZEN_S)
    process.popen.send_signal(signal.SIGCONT)


def ticks(shop: Project) -> list[tuple[int, datetime]]:
    """Which ticks of the feed were polled, and when."""
    runs = "SELECT feed_id, started_at FROM run WHERE trigger = 'schedule' ORDER BY started_at"
    return [(_tick(FeedId(feed_id), at), at) for feed_id, at in shop.control(runs)]


def _tick(feed_id: FeedId, at: datetime) -> int:
    origin = datetime.fromtimestamp(0, tz=at.tzinfo) + jitter(EVERY, feed_id)
    return (at - origin) // EVERY.span
