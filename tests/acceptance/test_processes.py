"""The processes of the Procfile over Redis, each on its own, killed while their source changes."""

from __future__ import annotations

import random
import uuid

import pytest
import redis

from tests.acceptance.project import Project
from tests.acceptance.survival import survive

pytestmark = pytest.mark.services


def test_killed_workers_and_an_emptied_redis_lose_and_double_nothing(
    renters: Project, redis_server: str
) -> None:
    namespace = f"headrace_test_{uuid.uuid4().hex[:12]}"
    url = f"{redis_server.rstrip('/')}/{random.randrange(1, 16)}"
    renters.environment |= {"HEADRACE_BROKER_URL": url, "HEADRACE_QUEUE_NAMESPACE": namespace}
    with redis.Redis.from_url(url) as client:

        def empty() -> int:
            keys = list(client.scan_iter(match=f"{namespace}*", count=1000))
            return int(client.delete(*keys)) if keys else 0

        try:
            survive(renters, kills=20, at_least_in_the_middle=15, empty_broker=empty)
        finally:
            empty()
