"""The merge worker: applies journalled batches to records in a data source (`headrace.steps.merge`)."""

from __future__ import annotations

import sys
from typing import Protocol

from headrace import wiring
from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.process import Process, run
from headrace.queue.checked import Broker
from headrace.queue.consumer import Consumer, merge_consumer
from workers.life import Application, work
from workers.turns import Turns


class Merges(Application, Protocol):
    """The part of the application that this worker calls."""

    def merge(self, data_source_id: DataSourceId, model: ModelId) -> object: ...


def consumer(broker: Broker, app: Merges, /, *, threads: int) -> Consumer:
    """Merges into one data source by so many threads; one more is for others."""
    turns = Turns[tuple[DataSourceId, ModelId]](
        threads, again=lambda target: app.nudge.merge(*target), keep_s=app.settings.nudge_lost_s
    )

    def merge(data_source_id: DataSourceId, model: ModelId) -> None:
        turns.take(data_source_id, (data_source_id, model), lambda: app.merge(data_source_id, model))

    return merge_consumer(broker, on_merge=merge, threads=threads + 1)


def body(process: Process) -> None:
    work(process, wiring.build, consumer)


def main() -> int:
    return run("merge", body)


if __name__ == "__main__":
    sys.exit(main())
