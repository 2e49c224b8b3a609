"""What the MySQL fence decides from what it sees, look by look."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from headrace.sources.fence_look import Look
from headrace.sources.fence_memory import Memory, read_memory, write_memory
from headrace.sources.mysql_fence import decide
from headrace.sources.mysql_sighting import ServerSighting

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def seen(
    when: float,
    *open_: str,
    statements: Mapping[str, float] | None = None,
    detached: frozenset[str] | None = frozenset(),
) -> ServerSighting:
    """Open transactions by name, and when the statements of sessions began."""
    running = {session: at(began) for session, began in (statements or {}).items()}
    return ServerSighting(
        at=at(when),
        statements=running,
        transactions=frozenset(open_),
        running=frozenset({*open_, *running}),
        detached=detached,
    )


def after(*sightings: ServerSighting, memory: Memory | None = None) -> Memory:
    """The memory after these, each as the next poll gets it back."""
    memory = memory or Memory()
    for sighting in sightings:
        memory = read_memory(write_memory(decide(sighting, memory)))
    return memory


def test_without_transactions_the_fence_is_the_clock_or_the_oldest_statement() -> None:
    assert after(seen(100)).fence == at(100)
    assert after(seen(100, statements={"7": 40, "8": 90})).fence == at(40)


def test_what_is_open_at_the_first_look_holds_all_until_it_ends() -> None:
    first = after(seen(100, "7/90"))
    assert first.fence is None
    assert after(seen(200, "7/90", "8/150"), memory=first).fence is None
    assert after(seen(200, "8/150"), memory=first).fence == at(100)
    assert after(seen(200), memory=first).fence == at(200)


def test_a_transaction_seen_first_counts_from_the_look_before() -> None:
    memory = after(seen(100), seen(200, "7/190"))
    assert memory.fence == at(100), "its statement may have waited since right after that look"
    assert after(seen(300, "7/190"), memory=memory).fence == at(100), "and it counts from there until it ends"
    assert after(seen(300, "7/290"), memory=memory).fence == at(200), "its session's next one does not"


def test_a_transaction_counts_from_the_statement_that_its_session_ran_at_the_look_before() -> None:
    memory = after(seen(100, statements={"7": 40, "8": 95}), seen(200, "7/190", "9/195"))
    assert memory.fence == at(40)
    assert after(seen(300, "9/195"), memory=memory).fence == at(100)


def test_when_innodb_did_not_tell_the_look_before_is_still_the_last() -> None:
    memory = after(seen(100), seen(200, statements={"7": 150}, detached=None))
    assert memory.fence == at(100)
    assert after(seen(300, "7/250"), memory=memory).fence == at(100)


def test_under_steady_load_the_fence_is_never_older_than_two_looks() -> None:
    """Each session is in a transaction at every look, half of them in a statement."""
    memory = after(seen(0))
    for look in range(10, 1000, 10):
        open_ = [f"{session}/{look}" for session in range(40)]
        statements = {str(session): look - 1.5 for session in range(0, 40, 2)}
        memory = after(seen(look, *open_, statements=statements), memory=memory)
        assert memory.fence is not None
        assert memory.fence >= at(look - 12)
    assert len(write_memory(memory)) < 1000


def test_an_older_look_of_another_process_breaks_nothing() -> None:
    """Feeds of a process share what was seen for a second: who takes a feed over may know less."""
    memory = after(seen(100), seen(200, "7/150"))
    memory = after(seen(199.5, "7/150", "8/140"), memory=memory)
    assert memory.fence == at(100)
    assert after(seen(300, "9/250"), memory=memory).fence == at(199.5)


def test_a_clock_that_was_set_back_sets_the_last_look_back() -> None:
    memory = after(seen(100, statements={"7": 40}), seen(200, "8/190")).set_back(timedelta(seconds=60))
    assert memory.look == Look(at=at(140), statements={}, transactions={"8/190": at(40)})
    assert after(seen(150, "9/145"), memory=memory).fence == at(140)


def test_a_state_without_a_look_is_that_of_a_first_one() -> None:
    old = json.dumps({"fence": at(0).isoformat()})
    assert after(seen(100, "7/50"), memory=read_memory(old)).fence == at(0)
