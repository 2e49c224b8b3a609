"""The benchmark harness in small: every work runs to its end, and its target equals its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import kept
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
    outcome = kept.read(work, results)
    assert outcome is not None
    assert all(result.figures and result.equal for result in outcome.results)
    for target in WORKS[work].targets:
        assert outcome.value(target.figure, of=target.of, beside=target.beside) is not None, target


def test_a_run_that_was_interrupted_goes_on_where_it_was(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["benchmarks", "--small", "--results", str(results), "--work", "route-warm"]
    rounds = []
    for wanted in ("1", "2", "2"):
        monkeypatch.setattr("sys.argv", [*arguments, "--rounds", wanted])
        assert command.main() == command.DONE
        outcome = kept.read("route-warm", results)
        assert outcome is not None
        rounds.append([result.round for result in outcome.results])
    assert rounds == [[1, 1], [1, 1, 2, 2], [1, 1, 2, 2]]
    assert "2 rounds are there already" in capsys.readouterr().out
