"""The relay: brings record events from the outboxes of data sources to the exchange and to webhooks. Any
number may run at once: what one has, another leaves alone."""

from __future__ import annotations

import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final, Protocol

from headrace import logs, wiring
from headrace.definition.webhook import Webhook
from headrace.domain.cloud_event import Origin
from headrace.domain.record_event import EXCHANGE
from headrace.errors import ConfigurationError, HeadraceError, RetryableError
from headrace.gauges import OF_OUTBOXES, OUTBOX_ASIDE, OUTBOX_OLDEST, OUTBOX_PENDING, Asked, Values, measured
from headrace.ports import Clock
from headrace.ports.relaying import Backlog, Outbox, Sink
from headrace.process import Process, run
from headrace.queue.records import RecordExchange
from headrace.settings import Settings
from headrace.steps.relay import RelayStep
from headrace.webhooks.opening import open_endpoint

log = logs.get(__name__)

LOOK_EVERY_S: Final = 0.25
_LOOKS_EACH_SECOND: Final = 100
"""All looks together: with many data sources each is looked at less often."""
_LONGEST_RETRY_S: Final = 5.0
_PRUNE_EVERY_S: Final = 60.0
_REST_EVERY_S: Final = 5.0
_MOST_AT_ONCE: Final = 32


class Relays(Protocol):
    """The part of the application that the relay calls."""

    @property
    def clock(self) -> Clock: ...

    def outboxes(self) -> Sequence[Origin]:
        """The data sources that make events."""
        ...

    def outbox(self, origin: Origin) -> Outbox | None: ...

    def backlogs(self) -> Iterator[tuple[Origin, Sequence[Backlog]]]:
        """What waits in each outbox that can be asked."""
        ...

    def webhooks(self) -> Mapping[str, Webhook]:
        """Those that are applied."""
        ...


def backlog_of(app: Relays) -> Asked:
    """The gauges of what waits in outboxes; one that cannot be asked has none."""

    def ask() -> Values:
        pending: dict[tuple[str, ...], float] = {}
        oldest: dict[tuple[str, ...], float] = {}
        aside: dict[tuple[str, ...], float] = {}
        for origin, backlogs in app.backlogs():
            for sink in {backlog.sink for backlog in backlogs}:
                own = [backlog for backlog in backlogs if backlog.sink == sink]
                labels = (str(origin.data_source), sink)
                pending[labels] = float(sum(backlog.pending for backlog in own))
                aside[labels] = float(sum(backlog.set_aside for backlog in own))
                if waiting := [backlog.oldest_at for backlog in own if backlog.oldest_at is not None]:
                    oldest[labels] = min(waiting)
        return {OUTBOX_PENDING: pending, OUTBOX_OLDEST: oldest, OUTBOX_ASIDE: aside}

    return Asked(OF_OUTBOXES, ask)


class Sinks:
    """The sinks of the settings and of the applied definitions."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        self.exchange: RecordExchange | None = None
        if settings.events_url is not None:
            self.exchange = RecordExchange(settings.events_url, namespace=settings.queue_namespace)
        self._endpoints: dict[str, tuple[Webhook, Sink]] = {}
        self._unfit: dict[str, str] = {}

    def current(self, webhooks: Mapping[str, Webhook]) -> list[Sink]:
        """Endpoints whose definition changed are opened anew."""
        for id_, (known, sink) in list(self._endpoints.items()):
            if webhooks.get(id_) != known:
                del self._endpoints[id_]
                sink.close()
        for id_, webhook in webhooks.items():
            if id_ not in self._endpoints:
                self._open(id_, webhook)
        return [*([self.exchange] if self.exchange else []), *(sink for _, sink in self._endpoints.values())]

    def _open(self, id_: str, webhook: Webhook) -> None:
        try:
            sink = open_endpoint(
                id_, webhook, now_s=lambda: self._clock.now().timestamp(), version=version("headrace")
            )
        except ConfigurationError as error:
            if self._unfit.get(id_) != str(error):
                log.error("webhook cannot be used", webhook=id_, error=str(error))
            self._unfit[id_] = str(error)
            return
        self._unfit.pop(id_, None)
        self._endpoints[id_] = (webhook, sink)

    def close(self) -> None:
        for sink in self.current({}):
            sink.close()


@dataclass(slots=True)
class _Task:
    """What is done again and again for one data source, for one sink or all."""

    run: Callable[[], object]
    every_s: float
    due_at: float = 0.0
    failures: int = 0
    running: Future[object] | None = None


@dataclass(slots=True)
class Relay:
    """Looks at every outbox for every sink, until it is told to stop."""

    app: Relays
    sinks: Sinks
    step: RelayStep
    settings: Settings
    monotonic: Callable[[], float] = time.monotonic
    _tasks: dict[tuple[str, str], _Task] = field(default_factory=dict)
    _rested_at: float = 0.0

    def run(self, *, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Waits for what is away, and for definitions that are not applied yet."""
        told = ""
        with ThreadPoolExecutor(_MOST_AT_ONCE, thread_name_prefix="relay") as threads:
            while not stop.is_set():
                beat()
                try:
                    self._tick(threads)
                    told = ""
                except (RetryableError, ConfigurationError) as error:
                    if told != str(error):
                        log.warning("relaying waits", kind=type(error).__name__, error=str(error))
                    told = str(error)
                    stop.wait(1.0)
                stop.wait(LOOK_EVERY_S)

    def _tick(self, threads: ThreadPoolExecutor) -> None:
        sinks = self.sinks.current(self.app.webhooks())
        wanted = self._wanted(sinks)
        for key in self._tasks.keys() - wanted.keys():
            del self._tasks[key]
        for key, task in wanted.items():
            self._tasks.setdefault(key, task).run = task.run
        every_s = max(LOOK_EVERY_S, len(self._tasks) / _LOOKS_EACH_SECOND)
        for key, task in self._tasks.items():
            if task.running is not None and task.running.done():
                self._end(key, task, every_s)
            if task.running is None and self.monotonic() >= task.due_at:
                task.running = threads.submit(task.run)
        if self.monotonic() >= self._rested_at + _REST_EVERY_S:
            self._rested_at = self.monotonic()
            for sink in sinks:
                sink.rest()

    def _wanted(self, sinks: Sequence[Sink]) -> dict[tuple[str, str], _Task]:
        tasks: dict[tuple[str, str], _Task] = {}
        for origin in self.app.outboxes():
            for sink in sinks:
                tasks[origin.data_source, sink.id] = _Task(self._draining(origin, sink), 0.0)
            ids = [sink.id for sink in sinks]
            tasks[origin.data_source, ""] = _Task(self._pruning(origin, ids), _PRUNE_EVERY_S)
        return tasks

    def _draining(self, origin: Origin, sink: Sink) -> Callable[[], object]:
        def drain() -> None:
            outbox = self.app.outbox(origin)
            if outbox is not None:
                self.step.drain(outbox, origin, sink)

        return drain

    def _pruning(self, origin: Origin, sinks: Sequence[str]) -> Callable[[], object]:
        def prune() -> None:
            outbox = self.app.outbox(origin)
            if outbox is not None:
                keep_s, keep_aside_s = self.settings.events_keep_s, self.settings.events_keep_aside_s
                outbox.prune(sinks, keep_s=keep_s, keep_aside_s=keep_aside_s)

        return prune

    def _end(self, key: tuple[str, str], task: _Task, every_s: float) -> None:
        """The edge of a task: every error ends here, told when it is the first."""
        error = None if task.running is None else task.running.exception()
        task.running = None
        if error is None:
            task.failures, task.due_at = 0, self.monotonic() + max(every_s, task.every_s)
            return
        task.failures += 1
        task.due_at = self.monotonic() + min(2.0 ** min(task.failures - 1, 10), _LONGEST_RETRY_S)
        data_source, sink = key
        if not isinstance(error, HeadraceError):
            log.error("relaying failed with a bug", data_source=data_source, sink=sink, exc_info=error)
        elif task.failures == 1:
            log.warning(
                "events wait", data_source=data_source, sink=sink, kind=type(error).__name__, error=str(error)
            )


@contextmanager
def relaying(app: Relays, settings: Settings, *, stop: threading.Event) -> Iterator[Relay]:
    """A relay with its sinks, which are closed at the end."""
    with closing(Sinks(settings, app.clock)) as sinks:
        step = RelayStep(
            holder=uuid.uuid4().hex,
            clock=app.clock,
            random=random.Random(),  # noqa: S311 (jitter)
            stopping=stop.is_set,
        )
        yield Relay(app, sinks, step, settings)


def body(process: Process) -> None:
    with ExitStack() as stack:
        app = stack.enter_context(closing(wiring.build(process.settings, process=process.name)))
        relay = stack.enter_context(relaying(app, process.settings, stop=process.stop))
        exchange = relay.sinks.exchange
        checks = [] if exchange is None else [exchange.check]
        process.readiness.needs(app.control_problems, *checks)
        if exchange is None:
            log.warning("HEADRACE_EVENTS_URL is not set: events go to webhooks alone", sink=EXCHANGE)
        if process.waits_for(app.require_control, *checks):
            stack.enter_context(measured(backlog_of(app)))
            relay.run(stop=process.stop, beat=process.heartbeat.beat)


def main() -> int:
    return run("relay", body)


if __name__ == "__main__":
    sys.exit(main())
