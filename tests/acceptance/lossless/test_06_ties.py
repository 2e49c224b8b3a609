"""Acceptance 6: a million rows with one timestamp, a kill midway, a lower key at that timestamp."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from tests.acceptance.lossless.databases import PostgresDatabase
from tests.acceptance.lossless.things import feed_state_bytes, project_of
from tests.acceptance.project import HEADRACE, Project
from tests.integration.waiting import until

ROWS = 1_000_000
PAGE_ROWS = 1_000
MIDWAY = 300
"""Batches."""
SMALL = 10_000


def test_a_million_ties_are_read_through_a_kill_and_a_lower_key_that_came_late(
    postgres_things: PostgresDatabase, tmp_path: Path
) -> None:
    postgres_things.make()
    project = project_of(tmp_path / "project", postgres_things, page_rows=PAGE_ROWS)
    with postgres_things.session() as late, postgres_things.session() as session:
        late.begin()
        ((at,),) = late.run("SELECT now()::text")
        session.run(f"INSERT INTO things SELECT n, 'n' || n, '{at}' FROM generate_series(2, {ROWS}) n")
        killed_midway(project)
        assert feed_state_bytes(project) < SMALL
        late.insert(1, "lower", f"'{at}'")
        late.commit()
    project.headrace("sync")
    assert feed_state_bytes(project) < SMALL
    with closing(sqlite3.connect(project.root / "store.db")) as store:
        counted = store.execute("SELECT count(*), count(DISTINCT thing_id), sum(thing_id) FROM things")
        assert counted.fetchone() == (ROWS, ROWS, ROWS * (ROWS + 1) // 2)
    before = project.journalled_batches()
    project.headrace("sync")
    assert project.journalled_batches() == before


def killed_midway(project: Project) -> None:
    """`headrace sync` was killed when it had journalled some hundred pages."""
    project.headrace("apply")
    with subprocess.Popen(
        [HEADRACE, "sync"], cwd=project.root, env=project._whole_environment(), stdout=subprocess.DEVNULL
    ) as sync:
        until(lambda: project.journalled_batches() >= MIDWAY)
        sync.send_signal(signal.SIGKILL)
        assert sync.wait() == -signal.SIGKILL
    assert project.journalled_batches() < ROWS // PAGE_ROWS
