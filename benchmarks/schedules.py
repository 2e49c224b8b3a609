"""Schedules (`python -m benchmarks.schedules`): so many feeds, each due once a minute; how late the latest
poll is, and what the scheduler takes.

Each table is read by ten feeds: it is the number of feeds that is measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks import many_feeds
from benchmarks.daemon import PROCESSES, REDIS_URL, Daemon, daemon, used
from benchmarks.database import database, rows
from benchmarks.measured import run_measured
from benchmarks.outcome import Result
from benchmarks.project import headrace
from benchmarks.work import Task

FEEDS_A_TABLE = 10
_FIRST_S = 900.0
"""Within which what every feed reads first is merged, and none is late any more."""

_LATE = "SELECT coalesce(extract(epoch FROM max(now() - next_due)), 0) FROM feed WHERE next_due < now()"
_NEW = "SELECT count(*) FROM feed WHERE NOT first_stream_done"
_UNMERGED = "SELECT count(*) FROM batch WHERE state = 'pending'"


def schedules(task: Task) -> Iterator[Result]:
    """`peak_late_s`: the longest that any feed waited, after it was due, until its poll had ended;
    `scheduler_cpu_percent` of a core; `cpu_percent` of all; `polls_per_s`."""
    feeds, project = task.extent.count, task.directory
    with database("source") as source_url, database("control") as control_url:
        task.announce(f"making {feeds:,} feeds")
        many_feeds.make_tables(source_url, max(1, feeds // FEEDS_A_TABLE))
        many_feeds.define(project, feeds, every="1m", tables=max(1, feeds // FEEDS_A_TABLE))
        environment = {
            "SHOP_URL": source_url,
            "HEADRACE_CONTROL_URL": control_url,
            "HEADRACE_BROKER_URL": REDIS_URL,
        }
        log = project / "apply.log"
        run_measured([headrace(), "apply"], directory=project, environment=environment, log=log)
        task.announce("the daemon reads them a first time")
        with daemon(project, environment, processes=PROCESSES) as running:
            _await_none_late(control_url)
            for number in task.rounds:
                task.announce(f"{task.extent.seconds:.0f} s are watched")
                figures = _watched(running, (source_url, control_url), task.extent.seconds)
                equal = many_feeds.is_equal(project, source_url, 0)
                yield Result(peer="headrace", round=number, figures=figures, equal=equal)


def _watched(running: Daemon, databases: tuple[str, str], seconds: float) -> dict[str, float]:
    late: list[float] = []

    def watch() -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            late.append(_number(databases[1], _LATE))
            time.sleep(0.5)

    before = running.metric("fetch", "runs_total")
    usage = used(running, databases, watch)
    done = running.metric("fetch", "runs_total") - before
    return {
        "peak_late_s": max(late),
        "polls_per_s": done / usage.wall_s,
        "cpu_percent": usage.total_s / usage.wall_s * 100,
        **{f"{name}_cpu_percent": took / usage.wall_s * 100 for name, took in usage.cpu_s.items()},
    }


def _await_none_late(control_url: str) -> None:
    deadline = time.monotonic() + _FIRST_S
    while _number(control_url, _NEW) or _number(control_url, _UNMERGED) or _number(control_url, _LATE) > 1.0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"feeds are late still after {_FIRST_S:.0f} s")
        time.sleep(1.0)


def _number(url: str, statement: str) -> float:
    ((number,),) = rows(url, statement)
    return float(number)
