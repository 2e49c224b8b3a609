"""All processes in one, on the in-memory broker: for `headrace up`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Protocol

from headrace.gauges import measured
from headrace.process import Process, leave_running_work
from headrace.queue import broker as brokers
from headrace.queue.checked import Broker
from headrace.queue.nudges import nudging
from producers.scheduler import Schedules, schedule
from workers import fetch, merge
from workers.life import watch
from workers.relay import Relays, backlog_of, relaying


class Everything(fetch.Fetches, merge.Merges, Relays, Schedules, Protocol):
    """The whole application."""


def run_all(
    process: Process,
    app: Everything,
    levels: Callable[[Broker], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Schedules, fetches, merges and relays in this process until it is asked to stop (`process.stop`);
    closes the application.

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
            with _scheduling(process, app), _publishing(process, app):
                watch(process, *consumers)
        finally:
            ended = [consumer.stop(within_s=settings.stop_within_s) for consumer in consumers]
            if not all(ended):
                leave_running_work()


def _scheduling(process: Process, app: Everything) -> AbstractContextManager[None]:
    def run() -> None:
        schedule(app, process.settings, stop=process.stop, heartbeat=process.heartbeat)

    return _beside(process, run, name="scheduler")


@contextmanager
def _publishing(process: Process, app: Everything) -> Iterator[None]:
    """Record events are relayed, where there is somewhere to relay them to."""
    with relaying(app, process.settings, stop=process.stop) as relay:

        def run() -> None:
            relay.run(stop=process.stop, beat=lambda: None)

        with measured(backlog_of(app)), _beside(process, run, name="relay"):
            yield


@contextmanager
def _beside(process: Process, body: Callable[[], None], *, name: str) -> Iterator[None]:
    """While the context is open, the body runs in a thread; when it fails the process is asked to stop, and
    its error comes out of the context."""
    failed: list[Exception] = []

    def run() -> None:
        try:
            body()
        except Exception as error:  # noqa: BLE001 (raised again below)
            failed.append(error)
            process.stop.set()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        process.stop.set()
        thread.join(process.settings.stop_within_s)
    if failed:
        raise failed[0]
