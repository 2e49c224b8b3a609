"""`doctor --prove-isolation` finds what leaks, disturbs nothing, and leaves nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace import wiring
from headrace.control.probes import probe_customers
from headrace.domain.probe import MODEL
from headrace.errors import StoreUnavailableError
from headrace.settings import Settings
from headrace.steps.records import RecordsStep
from tests.integration.command import Command
from workers.prove_isolation import Probe, _Run, prove_isolation


@pytest.fixture
def app(headrace: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[wiring.Application]:
    monkeypatch.setenv("HEADRACE_SECRET_KEYS", "a key of the tests")
    with wiring.build(Settings(), process="cli") as application:
        application.upgrade()
        yield application


def contents(directory: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every store."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for path in sorted(directory.glob("*.db")):
        with closing(sqlite3.connect(path)) as store:
            tables = store.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
            for name, sql in tables:
                found[f"{path.name}:{name}"] = [(sql,)]
                if sql and sql.startswith("CREATE TABLE"):
                    found[f"{path.name}:{name}"] += store.execute(f'SELECT * FROM "{name}"').fetchall()
    return found


def test_each_answer_holds_what_is_the_customers_own_and_all_is_removed(
    headrace: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SECRET_KEYS", "a key of the tests")
    assert headrace("db", "upgrade").code == 0
    before = contents(Path("stores"))
    assert before
    ended = headrace("doctor", "--prove-isolation", "--json")
    assert ended.code == 0, ended.out + ended.err
    assert ended.json["holds"]
    assert ended.json["over_http"]
    assert ended.json["leaks"] == []
    done = ended.json["data_sources"]
    assert all(found["cleaned_up"] for found in done)
    assert sum(found["probes"] for found in done) >= 4
    assert all(found["answers"] for found in done if found["left_out"] is None)
    assert contents(Path("stores")) == before
    assert headrace("doctor").code == 0
    told = headrace("doctor", "--prove-isolation")
    assert told.code == 0
    assert "everything of it is removed" in told.out


def test_what_an_interrupted_check_left_is_removed_by_the_next(
    app: wiring.Application, project: Path
) -> None:
    before = contents(Path("stores"))

    class Killed(BaseException):
        """Ends the process."""

    class Dying(_Run):
        def _read_all(self) -> None:
            raise Killed

        def _clean_up(self, touched: Sequence[Any]) -> int:
            return 0

    with pytest.raises(Killed):
        Dying(app, lambda: "0" * 32).run()
    left = probe_customers(app.engine)
    assert left
    assert contents(Path("stores")) != before
    proof = prove_isolation(app)
    assert proof.holds
    assert proof.leftovers == len(left)
    assert probe_customers(app.engine) == []
    assert contents(Path("stores")) == before


@contextmanager
def reading(patch: pytest.MonkeyPatch, name: str, changed: Any) -> Iterator[None]:
    with patch.context() as context:
        context.setattr(RecordsStep, name, changed)
        yield


def test_a_route_to_another_customers_records_is_a_leak(
    app: wiring.Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = RecordsStep.page
    first: list[Any] = []

    def misrouted(self: RecordsStep, asked: Any, query: Any) -> Any:
        first.append(asked)
        return page(self, first[0] if asked.model == MODEL else asked, query)

    with reading(monkeypatch, "page", misrouted):
        proof = prove_isolation(app)
    assert not proof.holds
    assert any("finds what is __headrace_probe_" in leak for leak in proof.leaks)
    assert probe_customers(app.engine) == []


def test_a_record_that_everybody_finds_is_a_leak(
    app: wiring.Application, monkeypatch: pytest.MonkeyPatch, headrace: Command
) -> None:
    stored = _Run._stored

    def everybodys(self: _Run, probe: Probe, model: Any) -> list[str]:
        if model == MODEL:
            return stored(self, probe, model)
        return ["somebody's"]

    monkeypatch.setattr(_Run, "_stored", everybodys)
    proof = prove_isolation(app)
    assert any("who has no record, finds somebody's" in leak for leak in proof.leaks)
    assert not any("somebody's record" in leak for leak in proof.leaks)
    ended = headrace("doctor", "--prove-isolation")
    assert ended.code == 1
    assert "LEAK" in ended.out


def test_a_data_source_that_does_not_answer_is_left_out_and_told(
    headrace: Command, app: wiring.Application, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = next(iter(app.data_sources.list(limit=1).items)).id
    connect = app.stores.open

    def opened(data_source_id: Any) -> Any:
        if data_source_id == away:
            raise StoreUnavailableError("it does not answer")
        return connect(data_source_id)

    monkeypatch.setattr(app.stores, "open", opened)
    proof = prove_isolation(app)
    told = {found.data_source_id: found.left_out for found in proof.data_sources}
    assert told.pop(away) == "it does not answer [store_unavailable]"
    assert set(told.values()) == {None}
    assert proof.holds


def test_without_keys_the_api_is_not_asked_and_it_is_said(
    headrace: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADRACE_SECRET_KEYS", raising=False)
    assert headrace("db", "upgrade").code == 0
    told = headrace("doctor", "--prove-isolation")
    assert told.code == 0
    assert "HEADRACE_SECRET_KEYS" in told.out
