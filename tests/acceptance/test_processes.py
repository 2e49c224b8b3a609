"""The processes of the Procfile, each on its own, killed again and again while their source changes."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from tests.acceptance import pagila
from tests.acceptance.campaign import VICTIMS, Kills, Writer, fleet_of, until_equal
from tests.acceptance.conftest import NewDatabase
from tests.acceptance.project import Project
from tests.acceptance.records import PostgresStore, oracle, property_types

pytestmark = pytest.mark.services

MOST_WAIT_S = 40.0
"""For the records after the last change and reconciliation."""

ENVIRONMENT = {
    "HEADRACE_METRICS_PORT": "0",
    "HEADRACE_LOG_FORMAT": "json",
    # What heals after a kill does so in seconds, or the test would take minutes.
    "HEADRACE_LEASE_S": "3",
    "HEADRACE_SWEEP_EVERY_S": "1",
    "HEADRACE_RESEND_AFTER_S": "3",
    "HEADRACE_NUDGE_LOST_S": "3",
}


@pytest.fixture
def project(pagila_database: str, new_database: NewDatabase, tmp_path: Path) -> Iterator[Project]:
    """Renters every second in pages of 500 rows, so that runs are long; payments are read whole."""
    with new_database() as store_url, new_database() as control_url:
        definitions = pagila.definitions(PostgresStore(store_url), every="1s", page_rows=500)
        definitions["sources/payments"]["schedule"]["every"] = "3s"
        environment = ENVIRONMENT | {
            "PAGILA_URL": pagila_database,
            "STORE_URL": store_url,
            "HEADRACE_CONTROL_URL": control_url,
        }
        yield Project.create(tmp_path / "project", definitions, environment)


def survive(
    project: Project, *, kills: int, at_least_in_the_middle: int, empty_broker: Callable[[], int] | None
) -> None:
    """Start everything, kill while a writer writes, and compare the end with the oracle."""
    began = time.monotonic()
    environment = project.environment
    source_url, store = environment["PAGILA_URL"], PostgresStore(environment["STORE_URL"])
    types = property_types(pagila.definitions(store), "renters", pagila.KEY)
    writer, counts, emptied = Writer(source_url, seed=kills), Kills(), []
    project.headrace("db", "upgrade")
    project.headrace("apply")
    with (
        fleet_of(project) as fleet,
        psycopg.connect(environment["HEADRACE_CONTROL_URL"], autocommit=True) as control,
    ):
        with writer.running():
            for number in range(kills):
                counts.kill(fleet, VICTIMS[number % len(VICTIMS)], control)
                if empty_broker is not None and number in (kills // 3, 2 * kills // 3):
                    emptied.append(empty_broker())
        killed_s = time.monotonic() - began
        for arguments in pagila.RECONCILED:
            project.headrace("reconcile", *arguments)
        expected = oracle(source_url, pagila.ORACLE, types, pagila.KEY, customer="default")
        left = until_equal(expected, lambda: store.records("renters", types, pagila.KEY), limit_s=MOST_WAIT_S)
        assert not left, f"{len(left)} differences\n" + "\n".join(left[:20]) + fleet.tails()
        assert fleet.stop() == dict.fromkeys(fleet.running, 0), fleet.tails()

    runs = project.control("SELECT state, count(*) FROM run GROUP BY 1 ORDER BY 1")
    print(
        f"\n{counts.total} kills, {counts.in_the_middle} in the middle"
        f" ({counts.with_run_live} with a run live, {counts.with_batches_pending} with batches pending,"
        f" {counts.with_merge_begun} with a merge begun); broker emptied of {emptied} keys;"
        f" {sum(writer.changes.made.values()) if writer.changes else 0} changes,"
        f" {writer.late_commits} late commits; {project.journalled_batches()} batches,"
        f" runs {dict(runs)}; killing {killed_s:.0f} s, all {time.monotonic() - began:.0f} s"
    )
    assert counts.total == kills
    assert counts.in_the_middle >= at_least_in_the_middle
    assert project.control("SELECT count(*) FROM batch WHERE state = 'pending'") == [(0,)]
    assert project.control("SELECT count(*) FROM rejected_row WHERE state = 'open'") == [(0,)]


def test_killed_workers_and_an_emptied_redis_lose_and_double_nothing(
    project: Project, redis_server: str
) -> None:
    namespace = f"headrace_test_{uuid.uuid4().hex[:12]}"
    url = f"{redis_server.rstrip('/')}/{random.randrange(1, 16)}"
    project.environment |= {"HEADRACE_BROKER_URL": url, "HEADRACE_QUEUE_NAMESPACE": namespace}
    with redis.Redis.from_url(url) as client:

        def empty() -> int:
            keys = list(client.scan_iter(match=f"{namespace}*", count=1000))
            return int(client.delete(*keys)) if keys else 0

        try:
            survive(project, kills=20, at_least_in_the_middle=15, empty_broker=empty)
        finally:
            empty()


@pytest.fixture
def rabbitmq_vhost(rabbitmq_server: str) -> Iterator[str]:
    """The URL of a virtual host of its own, or of the given one where none can be made from here."""
    name = f"headrace_test_{uuid.uuid4().hex[:12]}"
    control = shutil.which("rabbitmqctl")
    if control is None or subprocess.run([control, "add_vhost", name], capture_output=True).returncode:
        yield rabbitmq_server
        return
    user = rabbitmq_server.split("//")[1].split(":")[0]
    subprocess.run([control, "set_permissions", "-p", name, user, ".*", ".*", ".*"], check=True)
    yield f"{rabbitmq_server.rstrip('/')}/{name}"
    subprocess.run([control, "delete_vhost", name], check=True, capture_output=True)


def test_killed_workers_lose_and_double_nothing_over_rabbitmq(project: Project, rabbitmq_vhost: str) -> None:
    namespace = f"headrace_test_{uuid.uuid4().hex[:12]}"
    project.environment |= {"HEADRACE_BROKER_URL": rabbitmq_vhost, "HEADRACE_QUEUE_NAMESPACE": namespace}
    survive(project, kills=6, at_least_in_the_middle=4, empty_broker=None)
