"""W4, freshness (`python -m benchmarks.freshness`): from the message that a row has changed until it is seen
in the store, and the CPU time of workers that have nothing to do.

The store tells when a change is committed, by a trigger of its own that notifies us.
"""

from __future__ import annotations

import os
import random
import statistics
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks import many_feeds
from benchmarks.daemon import PROCESSES, REDIS_URL, Daemon, daemon
from benchmarks.database import database, rows, run
from benchmarks.measured import run_measured
from benchmarks.outcome import Result
from benchmarks.project import headrace
from benchmarks.work import Task
from headrace import wiring
from headrace.domain.trigger import TriggerRequest
from headrace.queue import broker as brokers
from headrace.queue.nudges import nudging
from headrace.settings import Settings
from headrace.steps.trigger import Asker

RABBITMQ_URL = os.environ.get("HEADRACE_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
BROKERS = {"redis": REDIS_URL, "rabbitmq": RABBITMQ_URL}
LOADS_PER_S = (1, 10, 50, 100, 200)
WARM = 20
_WAIT_S = 60.0
_PAUSE_S = 0.05
"""Between two changes, with chance added: the workers are idle when each comes."""

_TELL = """
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('visible', NEW.name); RETURN NULL; END $$
"""
_ROWS = "SELECT id, name FROM {} ORDER BY id"
_NOTIFY = (
    _TELL,
    "CREATE TRIGGER tell AFTER INSERT OR UPDATE ON headrace.t0 FOR EACH ROW EXECUTE FUNCTION tell()",
)


@dataclass(slots=True)
class Site:
    """A running daemon with one feed, and where its rows come from and go to."""

    source_url: str
    store_url: str
    daemon: Daemon
    app: wiring.Application

    def trigger(self) -> None:
        self.app.triggering.ask(TriggerRequest(source="t0"), Asker(by="bench"))

    def is_equal(self) -> bool:
        """The store has the source's rows."""
        there = [rows(self.source_url, _ROWS.format("t0")), rows(self.store_url, _ROWS.format("headrace.t0"))]
        return there[0] == there[1]


def on_redis(task: Task) -> Iterator[Result]:
    return _freshness(task, "redis")


def on_rabbitmq(task: Task) -> Iterator[Result]:
    return _freshness(task, "rabbitmq")


def growth(task: Task) -> Iterator[Result]:
    """As load grows: so many new rows a second, each with its trigger, whatever becomes of those before."""
    with _site(task.directory, "redis", task.extent.count) as site:
        for number in task.rounds:
            for per_s in LOADS_PER_S:
                taken = _loaded(site, per_s, task.extent.seconds)
                figures = _quantiles(taken)
                yield Result(
                    peer="headrace", round=number, figures=figures, equal=site.is_equal(), point=per_s
                )


def _freshness(task: Task, broker: str) -> Iterator[Result]:
    """`p50_ms`, `p99_ms`, `peak_ms` of as many changes, one after the other; `idle_cpu_percent_<process>`."""
    with _site(task.directory, broker, task.extent.count) as site:
        for number in task.rounds:
            taken = [_change(site, f"change {number}.{change}") for change in range(task.extent.count)]
            before = {one.name: one.cpu_s for one in site.daemon.running}
            time.sleep(task.extent.seconds)
            idle = {
                f"idle_cpu_percent_{one.name}": (one.cpu_s - before[one.name]) / task.extent.seconds * 100
                for one in site.daemon.running
            }
            figures = _quantiles(taken) | idle | {"idle_cpu_percent": max(idle.values())}
            yield Result(peer="headrace", round=number, figures=figures, equal=site.is_equal())


def _quantiles(taken_s: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(taken_s, n=100, method="inclusive")
    return {"p50_ms": cuts[49] * 1000, "p99_ms": cuts[98] * 1000, "peak_ms": max(taken_s) * 1000}


def _loaded(site: Site, per_s: float, seconds: float) -> list[float]:
    """Seconds from the commit of each new row until it is visible."""
    began_s: dict[str, float] = {}
    seen_s: dict[str, float] = {}
    names = [f"load {uuid.uuid4().hex}" for _ in range(max(2, int(per_s * seconds)))]
    with psycopg.connect(site.store_url, autocommit=True) as listening:
        listening.execute("LISTEN visible")
        writer = threading.Thread(target=_write, args=(site, names, 1 / per_s, began_s))
        writer.start()
        for told in listening.notifies(timeout=_WAIT_S):
            seen_s.setdefault(told.payload, time.perf_counter())
            if len(seen_s) == len(names):
                break
        writer.join()
    return [seen_s[name] - began_s[name] for name in names]


def _write(site: Site, names: Sequence[str], every_s: float, began_s: dict[str, float]) -> None:
    """A new row for each name, in step; a row that is late waits for none."""
    first_s = time.perf_counter()
    insert = "INSERT INTO t0 SELECT max(id) + 1, %s, now() FROM t0"
    with psycopg.connect(site.source_url, autocommit=True) as source:
        for place, name in enumerate(names):
            time.sleep(max(0.0, first_s + place * every_s - time.perf_counter()))
            source.execute(insert, [name])
            began_s[name] = time.perf_counter()
            site.trigger()


def _change(site: Site, name: str) -> float:
    """Seconds from the trigger of a changed row to its commit in the store."""
    time.sleep(_PAUSE_S * (1 + random.random()))
    with psycopg.connect(site.store_url, autocommit=True) as listening:
        listening.execute("LISTEN visible")
        run(site.source_url, f"UPDATE t0 SET name = '{name}', updated_at = now() WHERE id = 1")
        began = time.perf_counter()
        site.trigger()
        for told in listening.notifies(timeout=_WAIT_S):
            if told.payload == name:
                return time.perf_counter() - began
    raise TimeoutError(f"{name} was not visible within {_WAIT_S:.0f} s")


@contextmanager
def _site(project: Path, broker: str, changes: int) -> Iterator[Site]:
    with (
        database("source") as source_url,
        database("control") as control_url,
        database("store") as store_url,
    ):
        many_feeds.make_tables(source_url, 1)
        many_feeds.define(project, 1, every="1h", store={"type": "postgres", "url": "${STORE_URL}"})
        environment = {
            "SHOP_URL": source_url,
            "STORE_URL": store_url,
            "HEADRACE_CONTROL_URL": control_url,
            "HEADRACE_BROKER_URL": BROKERS[broker],
            "HEADRACE_QUEUE_NAMESPACE": f"bench-{uuid.uuid4().hex[:8]}",
        }
        log = project / "sync.log"
        run_measured([headrace(), "sync"], directory=project, environment=environment, log=log)
        run(store_url, *_NOTIFY)
        settings = Settings(
            control_url=control_url,
            broker_url=BROKERS[broker],
            queue_namespace=environment["HEADRACE_QUEUE_NAMESPACE"],
        )
        sender = brokers.shared(settings)
        with (
            wiring.build(settings, process="bench") as app,
            nudging(sender) as app.nudge,
            daemon(project, environment, processes=PROCESSES) as running,
        ):
            site = Site(source_url, store_url, running, app)
            for number in range(min(WARM, changes)):  # what is made on first use is there
                _change(site, f"warm {number}")
            yield site
