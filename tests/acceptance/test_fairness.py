"""A source that does not answer keeps none of the others waiting, and is read in turn when it does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.conftest import NewDatabase
from tests.acceptance.procfile import Running
from tests.acceptance.project import Project, execute, query
from tests.acceptance.small_shop import add_user, over_servers, until

pytestmark = pytest.mark.services

SLOW_FEEDS = 8
"""Four for each thread that may read them."""
PROMPT_S = 8.0
"""Less than a statement waits for a lock: so long, each of the threads that slow feeds have is taken."""
_WAITS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture
def shop(new_database: NewDatabase, redis_server: str, tmp_path: Path) -> Iterator[Project]:
    """The users of an app that answers, and tables of another one which can be made not to."""
    with new_database() as slow, over_servers(tmp_path / "shop", new_database, redis_server) as project:
        project.environment["SLOW_URL"] = slow
        project.define("apps/slow", {"name": "Slow", "type": "postgres", "url": "${SLOW_URL}"})
        for number in range(SLOW_FEEDS):
            execute(slow, f"CREATE TABLE t{number} (id int PRIMARY KEY, updated_at timestamptz NOT NULL)")
            project.define(f"models/slow{number}", {"name": f"Slow {number}", "schema": "crm"})
            project.define(f"sources/slow{number}", slow_source(number))
        project.headrace("apply")
        yield project


def slow_source(number: int) -> dict[str, Any]:
    return {
        "name": f"Slow {number}",
        "model": f"slow{number}",
        "primary": True,
        "app": "slow",
        "table": f"t{number}",
        "key": ["id"],
        "schedule": {"every": "1s", "cursor": "updated_at", "clock": "database"},
        "properties": {f"id{number}": {"type": "integer", "column": "id"}},
    }


@contextmanager
def not_answering(project: Project) -> Iterator[None]:
    """No table of the slow app can be read meanwhile."""
    with psycopg.connect(project.environment["SLOW_URL"]) as locks:
        for number in range(SLOW_FEEDS):
            locks.execute(f"LOCK TABLE t{number} IN ACCESS EXCLUSIVE MODE")
        yield


def slow_reads(project: Project) -> int:
    return int(query(project.environment["SLOW_URL"], _WAITS)[0][0])


def journalled(project: Project) -> int:
    return int(project.control("SELECT coalesce(sum(rows), 0) FROM batch WHERE model_id = 'users'")[0][0])


def never_read(project: Project) -> int:
    counted = "SELECT count(*) FROM feed WHERE app_id = 'slow' AND last_success_at IS NULL"
    return int(project.control(counted)[0][0])


def test_an_app_that_does_not_answer_leaves_a_thread_to_others(shop: Project) -> None:
    fleet = Running()
    try:
        fleet.start(shop, "scheduler", "producers.scheduler")
        with not_answering(shop):
            fleet.start(shop, "fetch", "workers.fetch")
            until(lambda: slow_reads(shop) == 2, "the slow app's feeds take no threads")
            for number in range(1, 4):
                add_user(shop, number)
                began = time.monotonic()
                until(lambda number=number: journalled(shop) == number, "users wait for the slow app")  # type: ignore[misc]
                assert time.monotonic() - began < PROMPT_S
                assert slow_reads(shop) <= 2
        until(lambda: never_read(shop) == 0, "a feed of the slow app waits for ever")
    finally:
        for process in fleet.processes.values():
            process.discard()
