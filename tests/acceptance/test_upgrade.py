"""Processes beside migrations that they do not know, and without ones that they need.

The last release's processes run on this version's control database beside this version's, as they do while an
installation is upgraded. The newest tag `v…` that is an ancestor is that release.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance import procfile
from tests.acceptance.conftest import NewDatabase
from tests.acceptance.procfile import Running
from tests.acceptance.project import Project, execute, query
from tests.acceptance.small_shop import add_user, over_servers, until
from tests.compose import ROOT

pytestmark = pytest.mark.services

REFUSED = 2
UNKNOWN = "9999"
LAST_RELEASE = "61c305d039ae382fcc5cf192d215187709d3127b"
"""v0.1.0, for clones that were made without tags."""


@pytest.fixture
def shop(new_database: NewDatabase, redis_server: str, tmp_path: Path) -> Iterator[Project]:
    with over_servers(tmp_path / "shop", new_database, redis_server) as project:
        yield project


def at_revision(project: Project, revision: str) -> None:
    url = project.environment["HEADRACE_CONTROL_URL"]
    execute(url, f"UPDATE alembic_version SET version_num = '{revision}'")


def users(project: Project) -> int:
    return len(query(project.environment["STORE_URL"], "SELECT 1 FROM headrace.users"))


def all_ready(fleet: Running) -> None:
    for address in fleet.addresses().values():
        until(lambda a=address: httpx.get(f"http://{a}/readyz").text == "ok\n", f"{address} is not ready")
        assert httpx.get(f"http://{address}/healthz").text == "ok\n"


# --- at the start -------------------------------------------------------------------------------------


def refusals(project: Project) -> dict[str, str]:
    """What each process says that ends at once because of the control database."""
    with procfile.running(project) as fleet:
        said = {}
        for name, process in fleet.processes.items():
            assert process.popen.wait(timeout=20) == REFUSED, process.tail()
            said[name] = process.tail(1)
            process.log.unlink()
        return said


def test_every_process_refuses_a_control_database_that_lacks_a_migration_or_forbids_it(shop: Project) -> None:
    at_revision(shop, "0001")
    for name, said in refusals(shop).items():
        assert "is at revision 0001, not" in said, name
        assert "run `headrace db upgrade`" in said, name
    at_revision(shop, UNKNOWN)
    execute(shop.environment["HEADRACE_CONTROL_URL"], f"UPDATE workspace SET serves_from = '{UNKNOWN}'")
    for name, said in refusals(shop).items():
        assert f"revision {UNKNOWN}, which this Headrace does not know" in said, name
        assert "update Headrace" in said, name


def test_every_process_works_beside_newer_migrations_and_none_undoes_them(shop: Project) -> None:
    at_revision(shop, UNKNOWN)
    with procfile.running(shop) as fleet:
        all_ready(fleet)
        add_user(shop, 1)
        until(lambda: users(shop) == 1, "nothing is merged")
        assert {n: p.stop(limit_s=25) for n, p in fleet.processes.items()} == dict.fromkeys(
            fleet.processes, 0
        )
    shop.headrace("db", "upgrade", exit_code=REFUSED)
    assert shop.control("SELECT version_num FROM alembic_version") == [(UNKNOWN,)]


# --- the last release ---------------------------------------------------------------------------------


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """The last release's code."""
    release = git("describe", "--tags", "--abbrev=0", "--match", "v*") or LAST_RELEASE
    if git("cat-file", "-t", f"{release}^{{commit}}") != "commit":
        pytest.skip(f"this clone is too shallow: it lacks the last release, {release}")
    directory = tmp_path / "released"
    directory.mkdir()
    archive = subprocess.run(["git", "archive", release], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "--extract", "--directory", str(directory)], input=archive, check=True)
    return directory


def of_release(project: Project, released: Path) -> Project:
    """The same project, with the release's code, on what is installed here."""
    path = {"PYTHONPATH": os.pathsep.join(map(str, (released / "src", released)))}
    old = Project(project.root, project.environment | path)
    where = [sys.executable, "-c", "import headrace, workers; print(headrace.__file__, workers.__file__)"]
    found = subprocess.run(where, env=os.environ | path, cwd=project.root, capture_output=True, text=True)
    assert found.stdout.count(str(released)) == 2, found.stdout + found.stderr
    return old


def test_processes_of_the_last_release_work_on_this_version_s_control_database_beside_its_own(
    shop: Project, released: Path
) -> None:
    old = of_release(shop, released)
    with procfile.running(old, released / "Procfile", prefix="old-") as before:
        all_ready(before)
        add_user(shop, 1)
        until(lambda: users(shop) == 1, "the release's processes merge nothing")
        with procfile.running(shop) as after:
            all_ready(after)
            for name in ("old-scheduler", "fetch"):
                assert (before.processes | after.processes)[name].stop(limit_s=25) == 0
            add_user(shop, 2)
            until(lambda: users(shop) == 2, "this version's scheduler and the release's workers do nothing")
            for name in ("old-fetch", "merge"):
                assert (before.processes | after.processes)[name].stop(limit_s=25) == 0
            after.start(shop, "fetch-again", "workers.fetch")
            add_user(shop, 3)
            until(lambda: users(shop) == 3, "this version's reads are not merged by the release's worker")
            left = before.processes | after.processes
            assert {process.stop(limit_s=25) for process in left.values()} == {0}
    assert shop.control("SELECT 1 FROM rejected_row") == []
