"""The processes of the Procfile in trouble while their source changes, over either broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.acceptance import pagila
from tests.acceptance.campaign import Control, Fleet, Writer, fleet_of, until_equal
from tests.acceptance.project import Project
from tests.acceptance.records import PostgresStore, oracle, property_types

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
    # Several of these fleets may run at once, and a server has a hundred connections.
    "HEADRACE_THREADS": "2",
}


def renters_project(directory: Path, source_url: str, store_url: str, control_url: str) -> Project:
    """Renters every second in pages of 500 rows, so that runs are long; payments are read whole."""
    definitions = pagila.definitions(PostgresStore(store_url), every="1s", page_rows=500)
    definitions["sources/payments"]["schedule"]["every"] = "3s"
    environment = ENVIRONMENT | {
        "PAGILA_URL": source_url,
        "STORE_URL": store_url,
        "HEADRACE_CONTROL_URL": control_url,
    }
    return Project.create(directory, definitions, environment, warm=True)


Trouble = Callable[[Fleet, Control], None]
"""What happens to the processes while their source changes; it is given the control database too."""


def survive(project: Project, *, seed: int, trouble: Trouble) -> None:
    """Start everything, let trouble come while a writer writes, and compare the end with the oracle."""
    began = time.monotonic()
    environment = project.environment
    source_url, store = environment["PAGILA_URL"], PostgresStore(environment["STORE_URL"])
    types = property_types(pagila.definitions(store), "renters", pagila.KEY)
    writer = Writer(source_url, seed=seed)
    project.headrace("db", "upgrade")
    project.headrace("apply")
    with (
        fleet_of(project) as fleet,
        psycopg.connect(environment["HEADRACE_CONTROL_URL"], autocommit=True) as control,
    ):
        with writer.running():
            trouble(fleet, control)
        trouble_s = time.monotonic() - began
        for arguments in pagila.RECONCILED:
            project.headrace("reconcile", *arguments)
        expected = oracle(source_url, pagila.ORACLE, types, pagila.KEY, customer="default")
        left = until_equal(expected, lambda: store.records("renters", types, pagila.KEY), limit_s=MOST_WAIT_S)
        assert not left, f"{len(left)} differences\n" + "\n".join(left[:20]) + fleet.tails()
        assert fleet.stop() == dict.fromkeys(fleet.running, 0), fleet.tails()

    runs = project.control("SELECT state, count(*) FROM run GROUP BY 1 ORDER BY 1")
    print(
        f"\n{sum(writer.changes.made.values()) if writer.changes else 0} changes,"
        f" {writer.late_commits} late commits; {project.journalled_batches()} batches,"
        f" runs {dict(runs)}; trouble {trouble_s:.0f} s, all {time.monotonic() - began:.0f} s"
    )
    assert project.control("SELECT count(*) FROM batch WHERE state = 'pending'") == [(0,)]
    assert project.control("SELECT count(*) FROM rejected_row WHERE state = 'open'") == [(0,)]
