"""The life of a worker process: connect, consume, watch, stop."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Final, Protocol, TypeVar

from headrace.errors import InvariantError
from headrace.ports import Nudge
from headrace.process import Process, leave_running_work
from headrace.queue import broker as brokers
from headrace.queue.checked import Broker
from headrace.queue.consumer import Consumer
from headrace.queue.nudges import nudging
from headrace.settings import Settings

WATCH_EVERY_S: Final = 1.0


class Application(Protocol):
    """What every process needs of the application that it runs."""

    settings: Settings
    nudge: Nudge
    stopping: threading.Event

    def control_problems(self) -> list[str]:
        """Why the control database cannot be worked with; empty when it can."""
        ...

    def require_control(self) -> None:
        """Raises ConfigurationError where this version must not work with the control database."""
        ...

    def close(self) -> None: ...


App = TypeVar("App", bound=Application)
App_co = TypeVar("App_co", bound=Application, covariant=True)
App_contra = TypeVar("App_contra", bound=Application, contravariant=True)


class Build(Protocol[App_co]):
    """Makes the application of a process (`wiring.build`)."""

    def __call__(self, settings: Settings, /, *, process: str) -> App_co: ...


class Beside(Protocol[App_contra]):
    """What runs beside a worker's consumer, as long as the context is open."""

    def __call__(self, app: App_contra, settings: Settings, /) -> AbstractContextManager[object]: ...


def nothing_beside(_app: object, _settings: Settings) -> AbstractContextManager[object]:
    """Implements `Beside` for a worker that only consumes."""
    return nullcontext()


class ConsumerOf(Protocol[App_contra]):
    """Joins a queue to the application."""

    def __call__(self, broker: Broker, app: App_contra, /, *, threads: int) -> Consumer: ...


def work(
    process: Process,
    build: Build[App],
    consumer_of: ConsumerOf[App],
    beside: Beside[App] = nothing_beside,
) -> None:
    """Consumes until the process is asked to stop, then until what runs has ended, within
    `stop_within_s`. The application's nudges go through the same broker; both are closed.

    Errors: `ConfigurationError` when the broker or the control database is one not to be worked with.
    """
    settings = process.settings
    broker = brokers.shared(settings)
    with closing(build(settings, process=process.name)) as app, nudging(broker) as app.nudge:
        process.readiness.needs(app.control_problems, broker.check)
        if not process.waits_for(broker.check, app.require_control):
            return
        app.stopping = process.stop
        with beside(app, settings):
            consumer = consumer_of(broker, app, threads=settings.threads)
            consumer.start()
            watch(process, consumer)
            ended = consumer.stop(within_s=settings.stop_within_s)
        if not ended:
            leave_running_work()


def watch(process: Process, *consumers: Consumer) -> None:
    """Returns when the process is asked to stop, or has handled `max_messages` and asks for it itself. The
    heartbeat beats as long as every thread lives.

    Errors: `InvariantError` when a thread has died: the process is to be started again.
    """
    most = process.settings.max_messages
    while not process.stop.wait(WATCH_EVERY_S):
        if not all(consumer.alive() for consumer in consumers):
            raise InvariantError("a consumer's thread has died")
        process.heartbeat.beat()
        handled = sum(consumer.handled for consumer in consumers)
        if most is not None and handled >= most:
            process.retire(messages=handled, max_messages=most)
