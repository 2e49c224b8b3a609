"""The benchmark harness in small: every work runs to its end, and its target equals its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import kept, published
from benchmarks.outcome import Outcome, Result
from benchmarks.works import WORKS

pytestmark = pytest.mark.services

MACHINE = {
    "processor": "any", "cores": 2, "memory_gib": 4, "system": "Linux", "python": "3.11",
    "load_average": [0.1, 0.1, 0.1],
    "postgresql": {"server_version": "15", "fsync": "on"},
}  # fmt: skip
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


def test_published_results_fill_the_page_and_draw_what_they_suffice_for(tmp_path: Path) -> None:
    for work, point in (("W1", 0), ("growth-W1", 100_000)):
        results = [
            Result(
                peer=peer, round=1, figures={"wall_s": took_s, "peak_rss_mib": 99.0}, equal=True, point=point
            )
            for peer, took_s in (("reference", 4.0), ("headrace", 3.0))
        ]
        extent = {"count": WORKS[work].full.count, "seconds": 0}
        kept.write(Outcome(work, extent, "code", MACHINE, "2026-01-01", 1, results), tmp_path / "results")
    page = tmp_path / "page.md"
    page.write_text(f"before\n{published.BEGIN}\nold\n{published.END}\nafter\n")
    for _ in range(2):  # the second time changes nothing
        published.publish(
            tmp_path / "results", tmp_path / "published", pictures=tmp_path / "pictures", page=page
        )
        text = page.read_text()
        assert "| W1 | seconds | at most 1 x | 0.75 x | yes | 1 | equal |" in text
        assert "(pictures/rows.png)" in text
        assert "old" not in text
        assert text.startswith("before\n")
        assert text.endswith("after\n")
        (picture,) = (tmp_path / "pictures").iterdir()
        assert picture.name == "rows.png"
        assert picture.stat().st_size < 80 * 1024


def test_what_is_measured_in_small_is_not_published(tmp_path: Path) -> None:
    small = Outcome("W1", {"count": 7, "seconds": 0}, "code", MACHINE, "2026-01-01", finished=1)
    assert not published.is_whole(WORKS["W1"], small)
