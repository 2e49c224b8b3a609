"""The work `reconcile`: a million keys, none of which changed, compared between two databases."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import users
from benchmarks.database import database, run, settle
from benchmarks.kept import PROJECT
from benchmarks.measured import Measured, run_measured
from benchmarks.ours import sync
from benchmarks.outcome import Result
from benchmarks.project import define
from benchmarks.work import Task

_PIPELINE = (
    'psql -X -q -d "$SHOP_URL" -v ON_ERROR_STOP=1 -c "COPY (SELECT id FROM users) TO STDOUT (FORMAT binary)"'
    ' | psql -X -q -d "$STORE_URL" -v ON_ERROR_STOP=1 -c "CREATE TEMP TABLE keys (id bigint)"'
    ' -c "COPY keys FROM STDIN (FORMAT binary)"'
)


def reconcile(task: Task) -> Iterator[Result]:
    """The keys are copied out and into a temporary table by psql, and reconciled by Headrace, in turn.

    Headrace is timed inside its process, from the request to the last merge; CPU time and memory are those of
    the whole process.
    """
    project = task.directory
    with database("source") as source_url, database("store") as store_url:
        task.announce(f"making {task.extent.count:,} users, and syncing them")
        users.make(source_url, task.extent.count)
        define(project)
        environment = {
            "SHOP_URL": source_url,
            "STORE_URL": store_url,
            "HEADRACE_CONTROL_URL": f"sqlite:///{project / 'control.db'}",
        }
        sync(project, environment)
        run(store_url, "VACUUM ANALYZE headrace.users")  # as autovacuum leaves it
        wanted = users.checksum(source_url, "users")
        for number in task.rounds:
            settle(store_url)
            for peer, measure in (("reference", _copy), ("headrace", _reconcile)):
                measured = measure(project, environment)
                equal = users.checksum(store_url, "headrace.users") == wanted
                yield Result(peer=peer, round=number, figures=measured.figures(), equal=equal)


def _copy(project: Path, environment: dict[str, str]) -> Measured:
    log = project / "reference.log"
    return run_measured(["sh", "-c", _PIPELINE], directory=project, environment=environment, log=log)


def _reconcile(project: Path, environment: dict[str, str]) -> Measured:
    log = project / "reconcile.log"
    command = [sys.executable, "-m", "benchmarks.reconcile_once"]
    paths = {"PYTHONPATH": str(PROJECT)}
    whole = run_measured(command, directory=project, environment=environment | paths, log=log)
    took_s, _ = log.read_text().split()
    return replace(whole, wall_s=float(took_s))
