"""A `dramatiq.Worker` on one queue that hands each message to a plain callable, once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any, Final

import dramatiq
from dramatiq.errors import BrokerError
from pydantic import ValidationError

from headrace import logs, traces
from headrace.domain.messages import MergeModel, Message, PollFeed, ReconcileFeed
from headrace.domain.vocabulary import DataSourceId, FeedId, ModelId
from headrace.errors import HeadraceError, InvariantError, RetryableError
from headrace.metrics import MESSAGES
from headrace.queue.checked import Broker
from headrace.queue.topology import FETCH, MERGE, ROUTES, TRACEPARENT

log = logs.get(__name__)

IDLE_WAIT_MS: Final = 250
"""After so long an idle thread looks whether it is to stop. A message wakes it at once."""

Handler = Callable[[Any], None]


class _Worker(dramatiq.Worker):
    """Without consumers of delay queues: nothing is ever delayed, and each would double idle traffic."""

    def _add_consumer(self, queue_name: str, *, delay: bool = False) -> None:
        if not delay:
            super()._add_consumer(queue_name, delay=delay)


class _Traced(dramatiq.Middleware):
    """What a message leads to goes on with the message's trace."""

    def __init__(self) -> None:
        self._thread = threading.local()

    def before_process_message(self, _broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        self._thread.entered = stack = ExitStack()
        stack.enter_context(traces.continued(message.options.get(TRACEPARENT)))

    def after_process_message(self, *_: object, **__: object) -> None:
        self._thread.entered.close()


class Consumer:
    """Takes messages of one queue until it is stopped; reconnects by itself when the broker was away.

    A message whose handler fails is gone like one that succeeded: what is to be tried again, and
    when, is in the control database, and the sweeper nudges again.
    """

    def __init__(
        self,
        broker: Broker,
        queue: str,
        handlers: Mapping[type[Message], Handler],
        *,
        threads: int,
    ) -> None:
        self._broker = broker
        self._queue = queue
        self._running = _Running()
        if traces.is_on() and not any(isinstance(each, _Traced) for each in broker.middleware):
            broker.add_middleware(_Traced())
        for kind, handler in handlers.items():
            self._declare(kind, handler)
        self._worker = _Worker(
            broker, queues={broker.queue_name(queue)}, worker_timeout=IDLE_WAIT_MS, worker_threads=threads
        )
        # dramatiq counts running messages too: with as many as threads none waits behind a slow one.
        self._worker.queue_prefetch = threads

    def _declare(self, kind: type[Message], handler: Handler) -> None:
        route = ROUTES[kind]
        if route.queue != self._queue:
            raise InvariantError(f"{kind.__name__} does not travel in {self._queue}")

        def handle(message: object) -> None:  # the argument's name is `topology.ARGUMENT`
            with self._running:
                _handle(self._queue, kind, handler, message)

        dramatiq.Actor(
            handle,
            broker=self._broker,
            actor_name=route.actor,
            queue_name=self._broker.queue_name(route.queue),
            priority=0,
            options={},  # no retries: there is no middleware that would make any
        )

    def start(self) -> None:
        self._broker.emit_after("process_boot")
        self._worker.start()

    @property
    def handled(self) -> int:
        """How many messages it has taken, and done with."""
        return self._running.ended

    def alive(self) -> bool:
        """False when a thread has died, which only a bug does: the process should end and be restarted."""
        threads = [*self._worker.workers, *self._worker.consumers.values()]
        return bool(self._worker.consumers) and all(thread.is_alive() for thread in threads)

    def stop(self, *, within_s: float) -> bool:
        """No message is taken any more; True when all that ran has ended within the time."""
        deadline = time.monotonic() + within_s
        with suppress(BrokerError):
            self._worker.stop(timeout=int(within_s * 1000))
        return self._running.wait_for_none(deadline - time.monotonic())


def fetch_consumer(
    broker: Broker,
    *,
    on_poll: Callable[[FeedId], object],
    on_reconcile: Callable[[FeedId, bool], object],
    threads: int,
) -> Consumer:
    """A consumer of the fetch queue. `on_reconcile` is given the feed and whether it is full."""

    def poll(message: PollFeed) -> None:
        with logs.context(feed=message.feed_id):
            on_poll(FeedId(message.feed_id))

    def reconcile(message: ReconcileFeed) -> None:
        with logs.context(feed=message.feed_id):
            on_reconcile(FeedId(message.feed_id), message.full)

    return Consumer(broker, FETCH, {PollFeed: poll, ReconcileFeed: reconcile}, threads=threads)


def merge_consumer(
    broker: Broker, *, on_merge: Callable[[DataSourceId, ModelId], object], threads: int
) -> Consumer:
    """A consumer of the merge queue."""

    def merge(message: MergeModel) -> None:
        with logs.context(data_source=message.data_source_id, model=message.model):
            on_merge(DataSourceId(message.data_source_id), ModelId(message.model))

    return Consumer(broker, MERGE, {MergeModel: merge}, threads=threads)


def _handle(queue: str, kind: type[Message], handler: Handler, fields: object) -> None:
    """The edge of a worker: every error ends here, logged once and counted."""
    outcome = "failed"
    try:
        handler(kind.model_validate(fields))
        outcome = "done"
    except ValidationError as error:
        outcome = "invalid"
        faults = error.errors(include_input=False, include_url=False)
        log.warning("message dropped", queue=queue, reason="invalid", faults=[f["msg"] for f in faults])
    except RetryableError as error:
        log.warning("work is left for later", kind=type(error).__name__, code=error.code, error=str(error))
    except HeadraceError as error:
        log.error("work failed", kind=type(error).__name__, code=error.code, error=str(error))
    except Exception:
        log.exception("work failed with a bug")
    finally:
        MESSAGES.labels(queue=queue, outcome=outcome).inc()


class _Running:
    """Counts the messages that are being handled."""

    def __init__(self) -> None:
        self._count = 0
        self.ended = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._count -= 1
            self.ended += 1
            self._changed.notify_all()

    def wait_for_none(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, timeout=max(timeout_s, 0.0))
