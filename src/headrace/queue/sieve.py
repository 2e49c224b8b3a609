"""What may reach a worker thread: dramatiq trusts messages, and one that it does not expect kills the
thread (a foreign queue name), stops the consumer for seconds (not JSON), or waits in memory (an eta)."""

from __future__ import annotations

from collections.abc import Collection

import dramatiq
from dramatiq.errors import DecodeError

from headrace import logs
from headrace.metrics import MESSAGES
from headrace.queue.topology import ARGUMENT

log = logs.get(__name__)


def decoded(data: bytes) -> dramatiq.Message[object] | None:
    """The message, or None when it is not one (not JSON, a field missing or unknown)."""
    try:
        return dramatiq.Message.decode(data)
    except DecodeError:
        return None


def refusal(message: dramatiq.Message[object], queue: str, actors: Collection[str]) -> str | None:
    """Why a message that came from `queue` is dropped (malformed or unknown); None when it is sound."""
    well_formed = (
        message.queue_name == queue
        and isinstance(message.actor_name, str)
        and isinstance(message.message_id, str)
        and message.args == ()
        and isinstance(message.kwargs, dict)
        and message.kwargs.keys() == {ARGUMENT}
        and isinstance(message.options, dict)
        and "eta" not in message.options
    )
    if not well_formed:
        return "malformed"
    return None if message.actor_name in actors else "unknown"


def count_dropped(queue: str, reason: str) -> None:
    """The drop is counted and logged, without the content, which is anybody's."""
    MESSAGES.labels(queue=queue, outcome=reason).inc()
    log.warning("message dropped", queue=queue, reason=reason)
