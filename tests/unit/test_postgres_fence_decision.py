"""What the PostgreSQL fence decides from what it sees, transaction by transaction."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from headrace.sources.fence_memory import Memory, Sighting, decide_fence, read_memory, write_memory
from headrace.sources.postgres_rank import rank_text

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def seeing(when: float, *, oldest: float | None = None, prepared: str = "") -> Sighting:
    """A role that sees all: the oldest running transaction, or none but its own statement."""
    began = at(when if oldest is None else oldest)
    return Sighting(at=at(when), oldest=began, running=frozenset(), prepared=frozenset(prepared.split()))


def blind(when: float, running: str = "", *, prepared: str = "") -> Sighting:
    """A role that only sees which virtual transaction ids run."""
    return Sighting(
        at=at(when), oldest=None, running=frozenset(running.split()), prepared=frozenset(prepared.split())
    )


def kept(memory: Memory) -> Memory:
    """As the next poll gets it back."""
    return read_memory(write_memory(memory))


def test_the_oldest_running_transaction_holds_the_fence() -> None:
    assert decide_fence(seeing(100, oldest=40), Memory()).fence == at(40)
    assert decide_fence(seeing(100), Memory()).fence == at(100)


def test_at_the_first_poll_a_prepared_transaction_holds_everything() -> None:
    memory = decide_fence(seeing(100, prepared="a:1"), Memory())
    assert memory.fence is None
    assert decide_fence(seeing(200, prepared="a:1"), kept(memory)).fence is None
    assert decide_fence(seeing(300), kept(memory)).fence == at(300)


def test_a_prepared_transaction_holds_the_previous_fence_until_it_ends() -> None:
    memory = decide_fence(seeing(100, oldest=90), Memory())
    memory = decide_fence(seeing(200, prepared="a:1"), kept(memory))
    assert memory.fence == at(90)
    memory = decide_fence(seeing(300, prepared="a:1 b:2"), kept(memory))
    assert memory.fence == at(90)
    memory = decide_fence(seeing(400, prepared="b:2"), kept(memory))
    assert memory.fence == at(90), "the second was prepared while the first still held the fence"
    assert decide_fence(seeing(500), kept(memory)).fence == at(500)


def test_a_prepared_transaction_survives_a_restart_of_the_reader_only_through_the_state() -> None:
    memory = decide_fence(seeing(100), Memory())
    remembered = decide_fence(seeing(200, prepared="a:1"), kept(memory))
    assert remembered.fence == at(100)
    assert decide_fence(seeing(200, prepared="a:1"), read_memory(None)).fence is None


def test_what_was_closed_stays_closed_when_starts_cannot_be_seen_any_more() -> None:
    memory = decide_fence(seeing(100, oldest=90), Memory())
    memory = decide_fence(blind(200, "1/1"), kept(memory))
    assert memory.fence == at(90)
    memory = decide_fence(blind(300, "1/1 2/1"), kept(memory))
    assert memory.fence == at(90)
    assert decide_fence(blind(400, "2/1"), kept(memory)).fence == at(200)


def test_without_rights_the_fence_is_the_newest_moment_whose_transactions_have_all_ended() -> None:
    memory = decide_fence(blind(0, "1/1 2/1"), Memory())
    assert memory.fence is None
    memory = decide_fence(blind(10, "2/1 3/1"), kept(memory))
    assert memory.fence is None, "2/1 has run since the first moment"
    memory = decide_fence(blind(20, "3/1 4/1"), kept(memory))
    assert memory.fence == at(0)
    memory = decide_fence(blind(30, "4/1"), kept(memory))
    assert memory.fence == at(10)
    memory = decide_fence(blind(40, ""), kept(memory))
    assert memory.fence == at(40)


def test_without_rights_a_prepared_transaction_holds_too() -> None:
    memory = decide_fence(blind(0), Memory())
    assert memory.fence == at(0)
    memory = decide_fence(blind(10, prepared="a:1"), kept(memory))
    assert memory.fence == at(0)


def test_without_rights_memory_stays_small_under_a_transaction_that_never_ends() -> None:
    memory = Memory()
    for poll in range(1000):
        memory = decide_fence(blind(poll, f"1/1 2/{poll}"), kept(memory))
        assert memory.fence is None
    assert len(write_memory(memory)) < 10_000
    memory = decide_fence(blind(1000, "9/9"), kept(memory))
    assert memory.fence is not None
    assert memory.fence == at(999), "the last moment is never thinned out"


def test_what_is_remembered_of_many_transactions_stays_small() -> None:
    memory = Memory()
    for poll in range(100):
        running = " ".join(f"{backend}/{100_000 + backend}" for backend in range(200 + poll))
        memory = decide_fence(blind(poll, running, prepared="73512@1767268800.123456"), kept(memory))
    assert memory.fence is None
    assert len(write_memory(memory)) < 8_000


def test_each_remembered_moment_keeps_its_own_transactions() -> None:
    memory = Memory()
    for poll, running in enumerate(["1/1 2/1", "1/1 2/1 3/1", "2/1 3/1 4/1", "3/1 4/1 5/1"]):
        memory = decide_fence(blind(poll, running), memory)
        assert kept(memory) == memory
    assert memory.fence == at(0)


def test_all_that_is_remembered_goes_down_with_a_clock_that_was_set_back() -> None:
    memory = decide_fence(blind(0, "1/1"), Memory())
    memory = decide_fence(blind(100, "1/1 2/1"), memory)
    back = memory.set_back(timedelta(seconds=60))
    assert decide_fence(blind(50, "2/1"), back).fence == at(-60), "who came after may show an earlier time"
    assert decide_fence(blind(50, "9/9"), back).fence == at(40)
    prepared = decide_fence(seeing(100), Memory()).set_back(timedelta(seconds=60))
    assert decide_fence(seeing(50, prepared="a:1"), prepared).fence == at(40)
    assert memory.set_back(timedelta()) is memory


TIMES = [
    "-infinity",
    "4713-01-01 00:00:00+00 BC",
    "0044-03-15 12:00:00+00 BC",
    "0044-03-15 12:00:00.5+00 BC",
    "0001-01-01 00:00:00+00",
    "1970-01-01 00:00:00+00",
    "2026-01-01 00:00:00+00",
    "2026-01-01 00:00:00.000001+00",
    "2026-01-01 00:00:00.1+00",
    "9999-12-31 23:59:59.999999+00",
    "10000-01-01 00:00:00+00",
    "294276-12-31 23:59:59+00",
    "infinity",
]


@pytest.mark.parametrize(
    ("base", "ordered"),
    [
        ("timestamptz", TIMES),
        ("timestamp", [text.replace("+00", "") for text in TIMES]),
        ("date", ["-infinity", "0044-03-15 BC", "0001-01-01", "2026-01-31", "2026-02-01", "12026-01-01"]),
        ("int8", ["-9223372036854775808", "-10", "-9", "0", "9", "10", "9223372036854775807"]),
        ("numeric", ["-Infinity", "-1.5", "-1.49", "0.1", "0.10000000000000000001", "2", "Infinity", "NaN"]),
        ("float8", ["-Infinity", "-1e+300", "1e-300", "1.5", "1e+20", "Infinity", "NaN"]),
        ("text", ["", "A", "a", "aa", "é", "\U0001f389"]),
        ("uuid", ["00000000-0000-0000-0000-00000000000a", "10000000-0000-0000-0000-000000000000"]),
    ],
)  # fmt: skip
def test_ranks_follow_the_order_of_the_values(base: str, ordered: list[str]) -> None:
    ranks = [rank_text(text, base) for text in ordered]
    assert all(low < high for low, high in pairwise(ranks))


def test_a_text_that_is_no_time_has_no_rank() -> None:
    with pytest.raises(ValueError, match="yesterday"):
        rank_text("yesterday", "timestamptz")
