"""The fetch worker: reads what changed in a feed and journals it (`headrace.steps.fetch`), and merges it when
it is little (`workers.fresh`)."""

from __future__ import annotations

import sys
from typing import Protocol

from headrace import wiring
from headrace.domain.vocabulary import AppId, FeedId
from headrace.metrics import SCHEDULE_SKIPPED
from headrace.process import Process, run
from headrace.queue.checked import Broker
from headrace.queue.consumer import Consumer, fetch_consumer
from workers.fresh import FreshlyMerged, merging_fresh
from workers.life import Application, work
from workers.turns import Turns


class Fetches(Application, FreshlyMerged, Protocol):
    """The part of the application that this worker calls."""

    def poll(self, feed_id: FeedId) -> object: ...

    def reconcile(self, feed_id: FeedId, full: bool) -> object: ...

    def app_of(self, feed_id: FeedId) -> AppId | None:
        """The app that the feed is read from; None for one that is not known."""
        ...


def consumer(broker: Broker, app: Fetches, /, *, threads: int) -> Consumer:
    """Polls feeds of one app by so many threads; one more is for those of others."""
    turns = Turns[FeedId](
        threads,
        again=app.nudge.poll,
        keep_s=app.settings.resend_after_s,
        put_off=SCHEDULE_SKIPPED.labels(reason="app_busy").inc,
    )

    def poll(feed_id: FeedId) -> None:
        turns.take(app.app_of(feed_id) or "", feed_id, lambda: app.poll(feed_id))

    return fetch_consumer(broker, on_poll=poll, on_reconcile=app.reconcile, threads=threads + 1)


def body(process: Process) -> None:
    work(process, wiring.build, consumer, merging_fresh)


def main() -> int:
    return run("fetch", body)


if __name__ == "__main__":
    sys.exit(main())
