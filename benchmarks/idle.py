"""W3, idle polls of a running daemon (`python -m benchmarks.idle`): how many a second, and what one costs.

Scheduler, fetch and merge run as processes on Redis; source and control database are PostgreSQL. Each feed is
due every second, so that with enough feeds as many are polled as can be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import many_feeds
from benchmarks.daemon import PROCESSES, REDIS_URL, Daemon, daemon, used
from benchmarks.database import database
from benchmarks.measured import run_measured
from benchmarks.peers import headrace

_FIRST_S = 300.0
"""Within which every feed has been polled a first time."""
_SETTLE_S = 4.0
"""Longer than a fence's margin: the rows that were read are no longer provisional."""


def idle_polls(*, feeds: int, seconds: float, announce: Callable[[str], None]) -> dict[str, float]:
    """`polls_per_s`; `cpu_ms_per_poll` and, by process and server, `cpu_ms_per_poll_<name>`."""
    with (
        database("source") as source_url,
        database("control") as control_url,
        tempfile.TemporaryDirectory() as directory,
    ):
        project = Path(directory)
        announce(f"W3: making {feeds:,} feeds")
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
        announce("W3: the daemon reads them a first time")
        with daemon(project, environment, processes=PROCESSES) as running:
            _await_polls(running, feeds)
            time.sleep(_SETTLE_S)
            _await_polls(running, polls(running) + feeds)
            before = polls(running)
            usage = used(running, [source_url, control_url], lambda: time.sleep(seconds))
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


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("--feeds", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    figures = idle_polls(feeds=arguments.feeds, seconds=arguments.seconds, announce=print)
    for name, value in figures.items():
        print(f"{name:35}{value:10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
