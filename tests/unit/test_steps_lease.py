"""A lease is renewed as long as a step works, and no longer."""

from __future__ import annotations

import threading
from typing import Any

from headrace.domain.vocabulary import FeedId, LeaseId
from headrace.errors import ControlUnavailableError
from headrace.ports import Lease
from headrace.steps.lease import kept

LEASE = Lease(FeedId("feed"), 1, LeaseId("lease"))


class Renewing:
    """Of `Feeds` what a keeper calls: the first call fails."""

    def __init__(self) -> None:
        self.renewed = threading.Semaphore(0)
        self.calls = 0

    def renew(self, lease: Lease, *, lease_s: float) -> None:
        assert lease == LEASE
        self.calls += 1
        self.renewed.release()
        if self.calls == 1:
            raise ControlUnavailableError("for a moment")


def test_a_lease_is_renewed_until_the_work_is_done_whatever_fails() -> None:
    feeds: Any = Renewing()
    with kept(feeds, LEASE, lease_s=0.003):
        for _ in range(3):
            assert feeds.renewed.acquire(timeout=10)
    assert "lease-feed" not in {thread.name for thread in threading.enumerate()}
