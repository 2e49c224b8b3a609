"""Every queue and actor name, in one table. Senders use it instead of importing actors: a process
consumes every queue that it declares an actor for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headrace.domain.messages import MergeModel, Message, PollFeed, ReconcileFeed

FETCH: Final = "headrace.fetch"
MERGE: Final = "headrace.merge"

TRIGGERS: Final = "headrace.triggers"
"""Exchange, queue and routing key of messages from outside."""
TRIGGERS_DEAD: Final = "headrace.triggers.dead"
"""Where those go that cannot be met."""

ARGUMENT: Final = "message"
"""The one argument that every actor takes: the message's fields."""


TRACEPARENT: Final = "traceparent"
"""The one option that a message may have: the trace that it goes on (`traces`)."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a kind of message goes: the queue, and the actor's name in it."""

    queue: str
    actor: str


ROUTES: Final[dict[type[Message], Route]] = {
    PollFeed: Route(FETCH, "poll_feed"),
    ReconcileFeed: Route(FETCH, "reconcile_feed"),
    MergeModel: Route(MERGE, "merge_model"),
}
