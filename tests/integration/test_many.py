"""Many data sources and customers, in small: `python -m benchmarks.many` has a hundred thousand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks import many
from headrace import wiring
from headrace.settings import Settings
from headrace.stores.pool import MAX_OPEN


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HEADRACE_CONFIG_DIR", "HEADRACE_CONTROL_URL", "HEADRACE_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)


def test_at_most_fifty_pools_are_open_however_many_data_sources_there_are(tmp_path: Path) -> None:
    done = many.measure(tmp_path, data_sources=MAX_OPEN + 15, customers=2_000)
    assert done.open_pools == MAX_OPEN == many.MOST_OPEN


def test_namespaces_of_one_database_are_data_sources_too(tmp_path: Path, postgres_database: str) -> None:
    done = many.measure(tmp_path, data_sources=4, customers=100, namespaces_of=postgres_database)
    assert 0 < done.open_pools <= 2 * (4 + 1)  # owner and reader of each; one is added on the way


@contextmanager
def counted(app: wiring.Application) -> Iterator[list[int]]:
    """The number of statements that the control database was sent."""
    count = [0]

    def count_one(*_: object) -> None:
        count[0] += 1

    sa.event.listen(app.engine, "before_cursor_execute", count_one)
    yield count
    sa.event.remove(app.engine, "before_cursor_execute", count_one)


def statements(directory: Path, data_sources: int) -> dict[str, int]:
    """How many each task needs in a project of that size."""
    many._define(data_sources, None)
    many._make_source()
    found = {}
    with wiring.build(Settings(), process="test") as app:
        for task in ("first apply", "apply of nothing", "sweep"):
            with counted(app) as count:
                app.sweep() if task == "sweep" else app.apply(app.definitions())
            found[task] = count[0]
    return found


def test_twice_as_many_data_sources_take_no_more_than_twice_the_statements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    monkeypatch.setattr(wiring, "CATALOGUE_S", 3600.0)  # else a slow run asks for the definitions once more
    for size in (10, 20, 40):
        directory = tmp_path / str(size)
        directory.mkdir()
        monkeypatch.chdir(directory)
        found.append(statements(directory, size))
    few, more, most = found
    for task in few:
        assert most[task] - more[task] <= 2 * (more[task] - few[task]), task
    assert most["apply of nothing"] == few["apply of nothing"]
