"""W4, freshness (`python -m benchmarks.freshness`): from the message that a row has changed until it is seen
in the store, and the CPU time of workers that have nothing to do.

The store tells when a change is committed, by a trigger of its own that notifies us.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks import many_feeds
from benchmarks.daemon import PROCESSES, REDIS_URL, Daemon, daemon
from benchmarks.database import database, run
from benchmarks.measured import run_measured
from benchmarks.peers import headrace
from headrace import wiring
from headrace.queue import broker as brokers
from headrace.queue.nudges import nudging
from headrace.settings import Settings

RABBITMQ_URL = os.environ.get("HEADRACE_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
BROKERS = {"redis": REDIS_URL, "rabbitmq": RABBITMQ_URL}
_WAIT_S = 60.0
_PAUSE_S = 0.05
"""Between two changes, with chance added: the workers are idle when each comes."""

_TELL = """
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('visible', NEW.name); RETURN NULL; END $$
"""
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


def freshness(
    *, broker: str, changes: int, idle_s: float, announce: Callable[[str], None]
) -> dict[str, float]:
    """`p50_ms`, `p99_ms` and `peak_ms`; `idle_cpu_percent_<process>`."""
    with tempfile.TemporaryDirectory() as directory, _site(Path(directory), broker) as site:
        announce(f"W4: {changes} changes, one after the other, on {broker}")
        for number in range(20):  # what is made on first use is there
            _change(site, f"warm {number}")
        taken = [_change(site, f"change {number}") for number in range(changes)]
        announce(f"W4: nothing happens for {idle_s:.0f} s")
        before = {one.name: one.cpu_s for one in site.daemon.running}
        time.sleep(idle_s)
        idle = {one.name: (one.cpu_s - before[one.name]) / idle_s * 100 for one in site.daemon.running}
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    figures = {"p50_ms": cuts[49] * 1000, "p99_ms": cuts[98] * 1000, "peak_ms": max(taken) * 1000}
    return figures | {f"idle_cpu_percent_{name}": percent for name, percent in idle.items()}


def _change(site: Site, name: str) -> float:
    """Seconds from the trigger of a changed row to its commit in the store."""
    time.sleep(_PAUSE_S * (1 + random.random()))
    with psycopg.connect(site.store_url, autocommit=True) as listening:
        listening.execute("LISTEN visible")
        run(site.source_url, f"UPDATE t0 SET name = '{name}', updated_at = now() WHERE id = 1")
        began = time.perf_counter()
        for feed_id in site.app.commands.trigger("t0"):
            site.app.nudge.poll(feed_id)
        for told in listening.notifies(timeout=_WAIT_S):
            if told.payload == name:
                return time.perf_counter() - began
    raise TimeoutError(f"{name} was not visible within {_WAIT_S:.0f} s")


@contextmanager
def _site(project: Path, broker: str) -> Iterator[Site]:
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
            yield Site(source_url, store_url, running, app)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.freshness", description=__doc__)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--idle-seconds", type=float, default=10.0)
    parser.add_argument("--broker", nargs="+", choices=sorted(BROKERS), default=sorted(BROKERS))
    arguments = parser.parse_args()
    for broker in arguments.broker:
        figures = freshness(
            broker=broker, changes=arguments.changes, idle_s=arguments.idle_seconds, announce=print
        )
        for name, value in figures.items():
            print(f"{broker:10}{name:35}{value:10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
