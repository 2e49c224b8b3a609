"""The benchmark harness in small: every work runs to its end, and its target equals its source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.works import WORKS

pytestmark = pytest.mark.services

WORKS_IN_CI = [work.name for work in WORKS.values() if work.suite == "bench"]


@pytest.fixture
def results(tmp_path: Path, postgres_server: str, redis_server: str, mysql_server: str) -> Path:
    return tmp_path / "results"


@pytest.mark.parametrize("work", WORKS_IN_CI)
def test_every_work_runs_and_ends_equal(
    work: str, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["benchmarks", "--small", "--rounds", "1", "--results", str(results), "--work", work]
    monkeypatch.setattr("sys.argv", arguments)
    assert command.main() == command.DONE, capsys.readouterr().out
    kept = json.loads((results / f"{work}.json").read_text())
    assert all(result["figures"] and result["equal"] for result in kept["results"])
    table = capsys.readouterr().out
    for target in WORKS[work].targets:
        (line,) = [line for line in table.splitlines() if line.startswith(work) and target.limit in line]
        assert "not measured" not in line


def test_a_run_that_was_interrupted_goes_on_where_it_was(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["benchmarks", "--small", "--results", str(results), "--work", "route-warm"]
    rounds = []
    for wanted in ("1", "2", "2"):
        monkeypatch.setattr("sys.argv", [*arguments, "--rounds", wanted])
        assert command.main() == command.DONE
        kept = json.loads((results / "route-warm.json").read_text())
        rounds.append([result["round"] for result in kept["results"]])
    assert rounds == [[1, 1], [1, 1, 2, 2], [1, 1, 2, 2]]
    assert "2 rounds are there already" in capsys.readouterr().out
