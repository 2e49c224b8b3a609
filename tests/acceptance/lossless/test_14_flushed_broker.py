"""Acceptance 14: Redis loses everything midway."""

from __future__ import annotations

import pytest
import redis

from tests.acceptance.campaign import MOMENT, Control, Fleet, within
from tests.acceptance.project import Project
from tests.acceptance.survival import survive
from tests.servers import private_redis

pytestmark = pytest.mark.services

TIMES = 6
BATCHES_BETWEEN = 5
MOMENT_LIMIT_S = 15.0


def journalled(control: Control) -> int:
    (batches,) = control.execute("SELECT coalesce(sum(seq), 0)::int FROM feed_log").fetchone() or (0,)
    assert isinstance(batches, int)
    return batches


def test_14_a_flushed_redis_loses_nothing(renters: Project) -> None:
    flushed = []
    with private_redis() as server, redis.Redis.from_url(server.url) as client:
        renters.environment |= {"HEADRACE_BROKER_URL": server.url}

        def trouble(_fleet: Fleet, control: Control) -> None:
            """FLUSHALL, each time in the middle: work went on since, batches wait, Redis has keys."""
            seen = 0
            for _ in range(TIMES):
                assert within(MOMENT_LIMIT_S, lambda after=seen: midway(control, after))  # type: ignore[misc]
                flushed.append(client.dbsize())
                client.flushall()
                seen = journalled(control)

        def midway(control: Control, after: int) -> bool:
            _, pending, _ = control.execute(MOMENT).fetchone() or ((), 0, 0)
            return bool(pending) and client.dbsize() > 0 and journalled(control) >= after + BATCHES_BETWEEN

        survive(renters, seed=14, trouble=trouble)
    print(f"keys lost by {TIMES} times FLUSHALL: {flushed}")
    assert len(flushed) == TIMES
    assert all(flushed)
