"""A process that was told how long to live ends by itself, and another goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace import memory
from headrace.settings import MIN_RSS_MIB
from tests.acceptance.conftest import NewDatabase
from tests.acceptance.project import Process, Project, query
from tests.acceptance.small_shop import SOON_S, add_user, in_files, over_servers, until

ASKS = "process asks to be replaced"
GENERATIONS = 2


def ended(process: Process) -> int:
    return process.popen.wait(timeout=SOON_S)


def told(process: Process, event: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in process.log.read_text().splitlines() if event in line]


@pytest.mark.services
def test_a_worker_that_has_handled_its_messages_drains_and_the_next_one_goes_on(
    new_database: NewDatabase, redis_server: str, tmp_path: Path
) -> None:
    with over_servers(tmp_path / "shop", new_database, redis_server) as project:
        merge = project.start("workers.merge", name="merge")
        scheduler = project.start("producers.scheduler", name="scheduler")
        mortal = Project(project.root, project.environment | {"HEADRACE_MAX_MESSAGES": "1"}, warm=True)
        processes = [merge, scheduler]
        try:
            for generation in range(1, GENERATIONS + 1):
                add_user(project, generation)
                worker = mortal.start("workers.fetch", name=f"fetch-{generation}")
                processes.append(worker)
                assert ended(worker) == 0, worker.tail()
                assert [line["max_messages"] for line in told(worker, ASKS)] == [1]
                assert told(worker, "process ended"), worker.tail()
            until(lambda: users(project) == GENERATIONS, "users are missing")
        finally:
            for process in processes:
                process.discard()
        states = project.control("SELECT DISTINCT state FROM run")
        assert states == [("succeeded",)], "a run was cut off"


def users(project: Project) -> int:
    return len(query(project.environment["STORE_URL"], 'SELECT 1 FROM headrace."users"'))


def test_a_process_that_holds_more_memory_than_it_may_ends_with_0(tmp_path: Path) -> None:
    project = in_files(tmp_path / "alone")
    project.environment["HEADRACE_MAX_RSS_MIB"] = str(MIN_RSS_MIB)
    process = project.start("tests.acceptance.hungry", name="hungry")
    try:
        assert ended(process) == 0, process.tail()
        (line,) = told(process, ASKS)
        assert line["max_rss_mib"] == MIN_RSS_MIB
        assert int(str(line["rss_mib"])) > MIN_RSS_MIB
    finally:
        process.discard()


def test_memory_that_a_process_takes_is_seen() -> None:
    before = memory.resident_mib()
    held = bytearray(b"x") * (100 * 1024 * 1024)
    assert 90 <= memory.resident_mib() - before <= 110
    del held
