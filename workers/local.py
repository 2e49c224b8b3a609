"""All processes in one, on the in-memory broker: for `headrace up`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from typing import Protocol

from headrace.gauges import measured
from headrace.process import Process, beside, leave_running_work
from headrace.queue import broker as brokers
from headrace.queue.checked import Broker
from headrace.queue.nudges import nudging
from producers.listening import Listening, Listens
from producers.scheduler import Schedules, schedule
from workers import fetch, merge
from workers.life import watch
from workers.relay import Relays, backlog_of, relaying


class Everything(fetch.Fetches, merge.Merges, Listens, Relays, Schedules, Protocol):
    """The whole application."""


def run_all(
    process: Process,
    app: Everything,
    levels: Callable[[Broker], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Schedules, listens, fetches, merges and relays in this process until it is asked to stop
    (`process.stop`); closes the application.

    Args:
        levels: what is entered with the broker while all runs: serves the gauges of a scheduler.

    Errors: what ended the scheduler or a worker.
    """
    settings = process.settings
    broker = brokers.make("memory://")
    with closing(app), nudging(broker) as app.nudge, levels(broker):
        app.stopping = process.stop
        process.readiness.needs(app.control_problems)
        consumers = (
            fetch.consumer(broker, app, threads=settings.threads),
            merge.consumer(broker, app, threads=settings.threads),
        )
        for consumer in consumers:
            consumer.start()
        try:
            with _scheduling(process, app), _listening(process, app), _publishing(process, app):
                watch(process, *consumers)
        finally:
            ended = [consumer.stop(within_s=settings.stop_within_s) for consumer in consumers]
            if not all(ended):
                leave_running_work()


def _scheduling(process: Process, app: Everything) -> AbstractContextManager[None]:
    def run() -> None:
        schedule(app, process.settings, stop=process.stop, heartbeat=process.heartbeat)

    return beside(process, run, name="scheduler")


def _listening(process: Process, app: Everything) -> AbstractContextManager[None]:
    listening = Listening(app, chance=random.Random())  # noqa: S311 (jitter)
    return beside(process, partial(listening.run, stop=process.stop), name="listening")


@contextmanager
def _publishing(process: Process, app: Everything) -> Iterator[None]:
    """Record events are relayed, where there is somewhere to relay them to."""
    with relaying(app, process.settings, stop=process.stop) as relay:

        def run() -> None:
            relay.run(stop=process.stop, beat=lambda: None)

        with measured(backlog_of(app)), beside(process, run, name="relay"):
            yield
