"""Takes messages from outside that a source be read now, and the notifications of sources' databases. Any
number may run at once."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Final

from headrace import traces, wiring
from headrace.domain.trigger import TriggerMessage
from headrace.errors import ConfigurationError, RetryableError
from headrace.ports import Ask, Unmet
from headrace.process import Process, beside, run
from headrace.queue import broker as brokers
from headrace.queue import exchange
from headrace.queue.nudges import nudging
from headrace.queue.triggers import Received, TriggerConsumer
from headrace.steps.trigger import Asker, TriggerStep
from producers.listening import Listening

BY_MESSAGE: Final = Asker(by="message")


def meet(step: TriggerStep, messages: Sequence[Received]) -> list[Unmet | None]:
    """What the messages ask for is kept and nudged; gives why one cannot be met, for each.

    Raises:
        RetryableError: nothing is kept: the control database is away, or nothing is applied yet.
    """
    came_from, *others = [message.traceparent for message in messages]
    with traces.span("trigger", parent=came_from, links=others, requests=len(messages)):
        try:
            judged = [step.judged(message.body, BY_MESSAGE, TriggerMessage) for message in messages]
        except ConfigurationError as error:
            raise RetryableError(str(error)) from error
        step.meet(judged)
    return [None if isinstance(each, Ask) else each for each in judged]


def body(process: Process) -> None:
    settings = process.settings
    url = exchange.needed(settings.events_url)
    broker = brokers.shared(settings)
    app = wiring.build(settings, process=process.name)
    with closing(app), nudging(broker) as app.nudge:
        consumer = TriggerConsumer(
            url,
            partial(meet, app.triggering),
            namespace=settings.queue_namespace,
            jitter=random.Random(),  # noqa: S311
        )
        process.readiness.needs(app.control_problems, broker.check, consumer.problems)
        if process.waits_for(broker.check, app.require_control):
            listening = Listening(app, chance=random.Random())  # noqa: S311
            with beside(process, partial(listening.run, stop=process.stop), name="listening"):
                consumer.run(stop=process.stop, beat=process.heartbeat.beat)


def main() -> int:
    return run("triggers", body)


if __name__ == "__main__":
    sys.exit(main())
