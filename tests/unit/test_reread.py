"""What re-reads behind the fence cost, and what a feed remembers of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from headrace.domain.position import Fence, Position
from headrace.domain.reread import BURST, MOST_REMEMBERED, FenceMemory, Reread, marks, resumes_at
from headrace.domain.vocabulary import FeedClass

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SHARE = 0.2


def fence(**fields: object) -> Fence:
    known = {"now": "9", "bound": "1", "fresh": "9", "running": frozenset({"a"})}
    return Fence(**{**known, **fields}, feed_class=FeedClass.EXACT)  # type: ignore[arg-type]


def reread(known: Reread, now: datetime, took_s: float) -> Reread:
    took = timedelta(seconds=took_s)
    return known.reread(fence(), first="5", tied=False, now=now, took=took, share=SHARE)


@pytest.mark.parametrize("took_s", [0.1, 1.0, 7.0, 60.0])
def test_re_reads_take_no_more_than_their_share_of_the_time(took_s: float) -> None:
    """Polled each second for an hour, read again whenever it may be."""
    now, known, spent = NOON, Reread(), 0.0
    while now < NOON + timedelta(hours=1):
        if known.is_affordable(now=now, share=SHARE):
            now += timedelta(seconds=took_s)
            spent += took_s
            known = reread(known, now, took_s)
        now += timedelta(seconds=1)
    passed = (now - NOON).total_seconds()
    assert spent <= SHARE * passed + BURST.total_seconds() + took_s
    assert spent >= min(SHARE, took_s / (took_s + 1)) * passed * 0.8


def test_short_re_reads_are_never_put_off() -> None:
    known = Reread()
    for poll in range(50):
        now = NOON + timedelta(milliseconds=20 * poll)
        assert known.is_affordable(now=now, share=SHARE)
        known = reread(known, now, 0.003)
    assert known.paid_at is None


def test_a_clock_of_ours_that_was_set_back_does_not_put_re_reads_off() -> None:
    known = reread(Reread(), NOON, 600.0)
    assert not known.is_affordable(now=NOON, share=SHARE)
    assert known.is_affordable(now=NOON - timedelta(days=1), share=SHARE)


@pytest.mark.parametrize(
    ("fields", "due"),
    [
        ({}, False),
        ({"running": frozenset({"a", "b"})}, False),
        ({"running": frozenset({"b"})}, True),
        ({"bound": "5"}, False),
        ({"bound": "6"}, True),
        ({"bound": None}, True),
        ({"running": None}, True),
    ],
)
def test_a_re_read_is_due_when_it_can_find_something(fields: dict[str, object], due: bool) -> None:
    known = reread(Reread(), NOON, 1.0)
    assert known.is_due(fence(**fields), now=NOON, rank=int) is due


def test_a_transaction_that_only_a_later_poll_saw_is_waited_for_too() -> None:
    known = reread(Reread(), NOON, 1.0).polled(fence(running=frozenset({"a", "b"})), tied=False, ahead=False)
    assert known.is_due(fence(running=frozenset({"a"})), now=NOON, rank=int)


def test_what_is_remembered_stays_small() -> None:
    many = frozenset(f"{pid}@{pid / 7}" for pid in range(MOST_REMEMBERED))
    known = Reread().reread(
        fence(running=many), first="5" * 30, tied=True, now=NOON, took=timedelta(seconds=1), share=SHARE
    )
    memory = FenceMemory(reader="{}", reread=known)
    assert len(memory.as_text()) < 3_000
    assert FenceMemory.from_text(memory.as_text()) == memory
    assert marks(many | {"one more"}) is None
    more = known.polled(fence(running=frozenset({"one more"})), tied=False, ahead=True)
    assert more.ran is None
    assert more.is_due(fence(), now=NOON, rank=int)


def test_a_poll_resumes_at_the_lead_only_while_something_is_provisional() -> None:
    saved, lead = Position("1", None), Position("5", ("k",))
    assert resumes_at(saved, lead, due=False, affordable=True) == lead
    assert resumes_at(saved, lead, due=True, affordable=False) == lead
    assert resumes_at(saved, lead, due=True, affordable=True) == saved
    assert resumes_at(lead, lead, due=False, affordable=False) == lead
    assert resumes_at(None, None, due=False, affordable=False) is None
