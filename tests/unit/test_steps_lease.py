"""A lease is renewed as long as a step works, and no longer."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import ExitStack
from typing import Any

from headrace.domain.vocabulary import FeedId, LeaseId
from headrace.errors import ControlUnavailableError
from headrace.ports import Lease
from headrace.steps.lease import Keeper

LEASE = Lease(FeedId("feed"), 1, LeaseId("lease"))
LEASES = [Lease(FeedId(f"feed {n}"), 1, LeaseId("lease")) for n in range(5)]


class Renewing:
    """Of `Feeds` what a keeper calls: the first call fails."""

    def __init__(self, *leases: Lease) -> None:
        self.known = leases or (LEASE,)
        self.leases: deque[Lease] = deque()
        self.renewed = threading.Semaphore(0)
        self.calls = 0

    def renew(self, lease: Lease, *, lease_s: float) -> None:
        assert lease in self.known
        self.calls += 1
        self.leases.append(lease)
        self.renewed.release()
        if self.calls == 1:
            raise ControlUnavailableError("for a moment")


def test_a_lease_is_renewed_until_the_work_is_done_whatever_fails() -> None:
    others = _keeping()
    feeds: Any = Renewing()
    with Keeper(feeds, lease_s=0.006).kept(LEASE):
        for _ in range(4):
            assert feeds.renewed.acquire(timeout=10)
        (keeping,) = _keeping() - others
    keeping.join(10)
    assert not keeping.is_alive()
    assert not _keeping() - others


def test_one_thread_keeps_the_leases_of_all_and_begins_again_when_it_has_ended() -> None:
    others = _keeping()
    feeds: Any = Renewing(*LEASES)
    keeper = Keeper(feeds, lease_s=0.006)
    for _ in range(2):
        with ExitStack() as polls:
            for lease in LEASES:
                polls.enter_context(keeper.kept(lease))
            renewed: set[Lease] = set()
            while renewed != set(LEASES):
                assert feeds.renewed.acquire(timeout=10)
                renewed.add(feeds.leases.popleft())
            (keeping,) = _keeping() - others
        keeping.join(10)
        feeds.leases.clear()


def _keeping() -> set[threading.Thread]:
    """The threads that renew leases, those of keepers of other tests too."""
    return {thread for thread in threading.enumerate() if thread.name == "leases"}
