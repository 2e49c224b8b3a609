"""The scheduler: sends due feeds to the fetch workers, and sweeps. Any number may run at once."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final, Protocol

from headrace import logs, wiring
from headrace.errors import ConfigurationError, RetryableError
from headrace.metrics import SWEEPER_RENUDGES
from headrace.observe import Heartbeat
from headrace.process import Process, run
from headrace.queue import broker as brokers
from headrace.queue.nudges import nudging
from headrace.queue.topology import MERGE
from headrace.settings import Settings
from producers.levels import measuring

log = logs.get(__name__)

RETRY_EVERY_S: Final = 1.0


class Schedules(Protocol):
    """The part of the application that the scheduler calls."""

    def schedule_tick(self) -> int:
        """Due feeds are claimed and nudged; gives how many."""
        ...

    def sweep(self) -> int:
        """What was lost is nudged again; gives the merges."""
        ...


def schedule(
    app: Schedules,
    settings: Settings,
    *,
    stop: threading.Event,
    heartbeat: Heartbeat,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Ticks and sweeps until `stop` is set; waits for a database that is away, and for definitions that
    are not applied yet or not usable.

    Errors: whatever else there is.
    """
    sweep_at = monotonic()
    away = False
    while not stop.is_set():
        heartbeat.beat()
        try:
            app.schedule_tick()
            if monotonic() >= sweep_at:
                SWEEPER_RENUDGES.labels(queue=MERGE).inc(app.sweep())
                sweep_at = monotonic() + settings.sweep_every_s
        except (RetryableError, ConfigurationError) as error:
            if not away:
                log.warning("scheduling waits", kind=type(error).__name__, error=str(error))
            away = True
            stop.wait(RETRY_EVERY_S)
            continue
        if away:
            log.info("scheduling goes on")
            away = False
        stop.wait(settings.tick_every_s)


def body(process: Process) -> None:
    broker = brokers.shared(process.settings)
    app = wiring.build(process.settings, process=process.name)
    with closing(app), nudging(broker) as app.nudge, measuring(app, broker):
        process.readiness.needs(app.control_problems, broker.check)
        if process.waits_for(broker.check, app.require_control):
            schedule(app, process.settings, stop=process.stop, heartbeat=process.heartbeat)


def main() -> int:
    return run("scheduler", body)


if __name__ == "__main__":
    sys.exit(main())
