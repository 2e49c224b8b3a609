"""W1 of a running daemon, from its trigger until the last row is visible; and what memory its processes take
as rows grow."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from benchmarks import users
from benchmarks.daemon import Daemon, daemon
from benchmarks.database import database, settle
from benchmarks.measured import run_measured
from benchmarks.merging import load
from benchmarks.ours import Headrace
from benchmarks.outcome import Result
from benchmarks.project import define, headrace
from benchmarks.reference import Reference
from benchmarks.work import Task
from headrace import wiring
from headrace.domain.trigger import TriggerRequest
from headrace.queue import broker as brokers
from headrace.queue.nudges import nudging
from headrace.settings import Settings
from headrace.steps.trigger import Asker
from tests.servers import private_redis

_MEGABYTE_IN_MIB = 1e6 / 2**20
_LIMIT_S = 1800.0
_EVERY_S = 0.01
NAMESPACE = "bench"

# Control marks a batch merged after its records were committed in the store: they are visible before this.
_IS_DONE = """
SELECT EXISTS (SELECT FROM run WHERE state = 'succeeded' AND rows_read > 0)
   AND NOT EXISTS (SELECT FROM batch WHERE state = 'pending')
"""


def first_load(task: Task) -> Iterator[Result]:
    """Beside the reference, whose processes start within its time."""
    with database("source") as source_url:
        task.announce(f"making {task.extent.count:,} users")
        users.make(source_url, task.extent.count)
        wanted = users.wanted(source_url)
        for number in task.rounds:
            yield load(task, Reference(), source_url, number, wanted)
            loaded = _load(task, source_url)
            equal = loaded.checksum == wanted(users.Form.EXACT)
            figures = {"wall_s": loaded.took_s} | loaded.peak_mib
            yield Result(peer="headrace", round=number, figures=figures, equal=equal)


def memory(task: Task) -> Iterator[Result]:
    """The peak of each process, of `headrace sync` and of Redis, in MB; with the rows, and with ten times as
    many."""
    for number in task.rounds:
        figures: dict[str, float] = {}
        equal = True
        for count in (task.extent.count, task.extent.count * 10):
            peaks, is_equal = _peaks_mb(task, number, count)
            equal = equal and is_equal
            figures |= {f"{name}_mb_at_{count}": peak for name, peak in peaks.items()}
            greatest = max(peak for name, peak in peaks.items() if name != "peak_redis")
            figures["growth"] = greatest / figures.get("peak_mb", greatest)
            figures["peak_mb"] = greatest
            figures["peak_redis_mb"] = peaks["peak_redis"]
        yield Result(peer="headrace", round=number, figures=figures, equal=equal)


def _peaks_mb(task: Task, number: int, count: int) -> tuple[dict[str, float], bool]:
    with database("source") as source_url:
        task.announce(f"making {count:,} users")
        users.make(source_url, count)
        wanted = users.wanted(source_url)
        loaded = _load(task, source_url)
        sync = load(task, Headrace(), source_url, number, wanted)
    peaks = loaded.peak_mib | {"peak_sync": sync.figures["peak_rss_mib"]}
    in_mb = {name.removesuffix("_mib"): peak / _MEGABYTE_IN_MIB for name, peak in peaks.items()}
    return in_mb, sync.equal and loaded.checksum == wanted(users.Form.EXACT)


# --- one load -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one took; `peak_mib` is by process, and of Redis."""

    took_s: float
    peak_mib: dict[str, float]
    checksum: users.Checksum


def _load(task: Task, source_url: str) -> Loaded:
    """Of a fresh daemon into an empty store."""
    with (
        tempfile.TemporaryDirectory(dir=task.directory) as directory,
        database("store") as store_url,
        database("control") as control_url,
        private_redis() as broker,
    ):
        environment = {
            "SHOP_URL": source_url,
            "STORE_URL": store_url,
            "HEADRACE_CONTROL_URL": control_url,
            "HEADRACE_BROKER_URL": broker.url,
            "HEADRACE_QUEUE_NAMESPACE": NAMESPACE,
        }
        project = Path(directory)
        define(project, every=None)
        log = project / "apply.log"
        run_measured([headrace(), "apply"], directory=project, environment=environment, log=log)
        with daemon(project, environment) as running, _application(control_url, broker.url) as app:
            settle(store_url)
            began_s = time.perf_counter()
            app.triggering.ask(TriggerRequest(source="users"), Asker(by="bench"))
            _await_done(control_url)
            took_s = time.perf_counter() - began_s
            peaks = _peaks(running, broker.url)
        return Loaded(took_s, peaks, users.checksum(store_url, "headrace.users"))


@contextmanager
def _application(control_url: str, broker_url: str) -> Iterator[wiring.Application]:
    settings = Settings(control_url=control_url, broker_url=broker_url, queue_namespace=NAMESPACE)
    sender = brokers.shared(settings)
    with wiring.build(settings, process="bench") as app, nudging(sender) as app.nudge:
        yield app


def _await_done(control_url: str) -> None:
    deadline = time.monotonic() + _LIMIT_S
    with psycopg.connect(control_url, autocommit=True) as control:
        while control.execute(_IS_DONE).fetchone() != (True,):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not every row was merged within {_LIMIT_S:.0f} s")
            time.sleep(_EVERY_S)


def _peaks(running: Daemon, broker_url: str) -> dict[str, float]:
    with redis.Redis.from_url(broker_url) as broker:
        used = int(broker.info("memory")["used_memory_peak"]) / 2**20
    processes = {f"peak_{one.name}_mib": one.peak_rss_mib for one in running.running}
    return processes | {"peak_redis_mib": used}
