"""Schedules (`python -m benchmarks.schedules`): so many feeds, each due once a minute; how late the latest
poll is, and what the scheduler takes.

Each table is read by ten feeds: it is the number of feeds that is measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import many_feeds
from benchmarks.daemon import PROCESSES, REDIS_URL, daemon, used
from benchmarks.database import database, rows
from benchmarks.measured import run_measured
from benchmarks.peers import headrace

FEEDS_A_TABLE = 10
_FIRST_S = 900.0
"""Within which every feed has been polled a first time, and none is late any more."""

_LATE = "SELECT coalesce(extract(epoch FROM max(now() - next_due)), 0) FROM feed WHERE next_due < now()"
_NEW = "SELECT count(*) FROM feed WHERE NOT first_stream_done"


def schedules(*, feeds: int, seconds: float, announce: Callable[[str], None]) -> dict[str, float]:
    """`peak_late_s`: the longest that any feed waited, after it was due, until its poll had ended;
    `scheduler_cpu_percent` of a core; `cpu_percent` of all; `polls_per_s`."""
    with (
        database("source") as source_url,
        database("control") as control_url,
        tempfile.TemporaryDirectory() as directory,
    ):
        project = Path(directory)
        announce(f"schedules: making {feeds:,} feeds")
        many_feeds.make_tables(source_url, max(1, feeds // FEEDS_A_TABLE))
        many_feeds.define(project, feeds, every="1m", tables=max(1, feeds // FEEDS_A_TABLE))
        environment = {
            "SHOP_URL": source_url,
            "HEADRACE_CONTROL_URL": control_url,
            "HEADRACE_BROKER_URL": REDIS_URL,
        }
        log = project / "apply.log"
        run_measured([headrace(), "apply"], directory=project, environment=environment, log=log)
        announce("schedules: the daemon reads them a first time")
        with daemon(project, environment, processes=PROCESSES) as running:
            _await_none_late(control_url)
            announce(f"schedules: {seconds:.0f} s are watched")
            late: list[float] = []

            def watch() -> None:
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    late.append(_number(control_url, _LATE))
                    time.sleep(0.5)

            before = running.metric("fetch", "runs_total")
            usage = used(running, [source_url, control_url], watch)
            done = running.metric("fetch", "runs_total") - before
    return {
        "peak_late_s": max(late),
        "polls_per_s": done / usage.wall_s,
        "cpu_percent": usage.total_s / usage.wall_s * 100,
        **{f"{name}_cpu_percent": took / usage.wall_s * 100 for name, took in usage.cpu_s.items()},
    }


def _await_none_late(control_url: str) -> None:
    deadline = time.monotonic() + _FIRST_S
    while _number(control_url, _NEW) or _number(control_url, _LATE) > 1.0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"feeds are late still after {_FIRST_S:.0f} s")
        time.sleep(1.0)


def _number(url: str, statement: str) -> float:
    ((number,),) = rows(url, statement)
    return float(number)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedules", description=__doc__)
    parser.add_argument("--feeds", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=130.0)
    arguments = parser.parse_args()
    figures = schedules(feeds=arguments.feeds, seconds=arguments.seconds, announce=print)
    for name, value in figures.items():
        print(f"{name:35}{value:10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
