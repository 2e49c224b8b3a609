"""The work `reconcile`: a million keys, none of which changed, compared between two databases."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import users
from benchmarks.database import database, run, settle
from benchmarks.measured import Measured, run_measured
from benchmarks.outcome import Outcome, Result
from benchmarks.peers import Peer, define, headrace

_PIPELINE = (
    'psql -X -q -d "$SHOP_URL" -v ON_ERROR_STOP=1 -c "COPY (SELECT id FROM users) TO STDOUT (FORMAT binary)"'
    ' | psql -X -q -d "$STORE_URL" -v ON_ERROR_STOP=1 -c "CREATE TEMP TABLE keys (id bigint)"'
    ' -c "COPY keys FROM STDIN (FORMAT binary)"'
)
REFERENCE, HEADRACE = "reference", "headrace (in process)"


def reconcile(peers: Sequence[Peer], *, rows: int, rounds: int, announce: Callable[[str], None]) -> Outcome:
    """The keys are copied out and into a temporary table by psql, and reconciled by Headrace, in turn.

    Headrace is timed inside its process, from the request to the last merge; CPU time and memory are those of
    the whole process.
    """
    del peers  # the one reference is a COPY
    results = []
    with (
        database("source") as source_url,
        database("store") as store_url,
        tempfile.TemporaryDirectory() as directory,
    ):
        announce(f"reconcile: making {rows:,} users, and syncing them")
        project = Path(directory)
        users.make(source_url, rows)
        define(project)
        environment = {
            "SHOP_URL": source_url,
            "STORE_URL": store_url,
            "HEADRACE_CONTROL_URL": f"sqlite:///{project / 'control.db'}",
        }
        log = project / "headrace.log"
        run_measured([headrace(), "sync"], directory=project, environment=environment, log=log)
        run(store_url, "VACUUM ANALYZE headrace.users")  # as autovacuum leaves it
        wanted = users.checksum(source_url, "users")
        for number in range(1, rounds + 1):
            settle(store_url)
            for peer, measure in ((REFERENCE, _copy), (HEADRACE, _reconcile)):
                measured = measure(project, environment)
                equal = users.checksum(store_url, "headrace.users") == wanted
                results.append(Result(peer, number, measured, equal=equal))
                announce(
                    f"reconcile round {number}: {peer:24} {measured.wall_s:7.2f} s"
                    f" {measured.peak_rss_mib:6.0f} MiB"
                )
    return Outcome("reconcile", rows, tuple(results))


def _copy(project: Path, environment: dict[str, str]) -> Measured:
    log = project / "reference.log"
    return run_measured(["sh", "-c", _PIPELINE], directory=project, environment=environment, log=log)


def _reconcile(project: Path, environment: dict[str, str]) -> Measured:
    log = project / "reconcile.log"
    command = [sys.executable, "-m", "benchmarks.reconcile_once"]
    paths = {"PYTHONPATH": str(Path(__file__).parents[1])}
    whole = run_measured(command, directory=project, environment=environment | paths, log=log)
    took_s, _ = log.read_text().split()
    return replace(whole, wall_s=float(took_s))
