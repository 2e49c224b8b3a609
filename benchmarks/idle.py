"""W3, idle polls of a running daemon (`python -m benchmarks.idle`): how many a second, and what one costs.

Scheduler, fetch and merge run as processes on Redis; source and control database are PostgreSQL. Each feed is
due every second, so that with enough feeds as many are polled as can be.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks import many_feeds
from benchmarks.daemon import PROCESSES, REDIS_URL, Daemon, daemon, used
from benchmarks.database import database
from benchmarks.measured import run_measured
from benchmarks.outcome import Result
from benchmarks.project import headrace
from benchmarks.work import Task

_FIRST_S = 300.0
"""Within which every feed has been polled a first time."""
_SETTLE_S = 4.0
"""Longer than a fence's margin: the rows that were read are no longer provisional."""


def idle_polls(task: Task) -> Iterator[Result]:
    """`polls_per_s`; `cpu_ms_per_poll` and, by process and server, `cpu_ms_per_poll_<name>`."""
    with _idling(task, task.extent.count) as measure:
        for number in task.rounds:
            yield measure(number)


def growth(task: Task) -> Iterator[Result]:
    """The same as feeds grow, tenfold each time, up to all."""
    for number in task.rounds:
        feeds = min(10, task.extent.count)
        while feeds <= task.extent.count:
            with _idling(task, feeds) as measure:
                yield replace(measure(number), point=feeds)
            feeds *= 10


@contextmanager
def _idling(task: Task, feeds: int) -> Iterator[Callable[[int], Result]]:
    """A daemon that has read every feed; what is given measures it for a while."""
    with (
        database("source") as source_url,
        database("control") as control_url,
        tempfile.TemporaryDirectory(dir=task.directory) as directory,
    ):
        project = Path(directory)
        task.announce(f"making {feeds:,} feeds")
        many_feeds.make_tables(source_url, feeds)
        many_feeds.define(project, feeds, every="1s")
        environment = {
            "SHOP_URL": source_url,
            "HEADRACE_CONTROL_URL": control_url,
            "HEADRACE_BROKER_URL": REDIS_URL,
        }
        run_measured(
            [headrace(), "apply"], directory=project, environment=environment, log=project / "apply.log"
        )
        task.announce("the daemon reads them a first time")
        with daemon(project, environment, processes=PROCESSES) as running:
            _await_polls(running, feeds)
            time.sleep(_SETTLE_S)
            _await_polls(running, polls(running) + feeds)

            def measure(number: int) -> Result:
                figures = _measure(running, (source_url, control_url), task.extent.seconds)
                equal = many_feeds.is_equal(project, source_url, feeds - 1)
                return Result(peer="headrace", round=number, figures=figures, equal=equal)

            yield measure


def _measure(running: Daemon, databases: Sequence[str], seconds: float) -> dict[str, float]:
    before = polls(running)
    usage = used(running, databases, lambda: time.sleep(seconds))
    done = polls(running) - before
    figures = {"polls_per_s": done / usage.wall_s, "cpu_ms_per_poll": usage.total_s / done * 1000}
    return figures | {f"cpu_ms_per_poll_{name}": took / done * 1000 for name, took in usage.cpu_s.items()}


def polls(running: Daemon) -> float:
    return running.metric("fetch", "runs_total")


def _await_polls(running: Daemon, number: float) -> None:
    deadline = time.monotonic() + _FIRST_S
    while polls(running) < number:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{polls(running):.0f} polls, not {number:.0f}, within {_FIRST_S:.0f} s")
        time.sleep(0.2)
