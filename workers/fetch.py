"""The fetch worker: reads what changed in a feed and journals it (`headrace.steps.fetch`), and merges it when
it is little (`workers.fresh`)."""

from __future__ import annotations

import sys
from typing import Protocol

from headrace import wiring
from headrace.domain.vocabulary import FeedId
from headrace.process import Process, run
from headrace.queue.checked import Broker
from headrace.queue.consumer import Consumer, fetch_consumer
from workers.fresh import FreshlyMerged, merging_fresh
from workers.life import Application, work


class Fetches(Application, FreshlyMerged, Protocol):
    """The part of the application that this worker calls."""

    def poll(self, feed_id: FeedId) -> object: ...

    def reconcile(self, feed_id: FeedId, full: bool) -> object: ...


def consumer(broker: Broker, app: Fetches, /, *, threads: int) -> Consumer:
    return fetch_consumer(broker, on_poll=app.poll, on_reconcile=app.reconcile, threads=threads)


def body(process: Process) -> None:
    work(process, wiring.build, consumer, merging_fresh)


def main() -> int:
    return run("fetch", body)


if __name__ == "__main__":
    sys.exit(main())
