"""A data source whose tables lack a part stops for that model, is shown, and is mended by apply."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace import wiring
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import DataSourceDriftedError, DataSourceUnfitError
from headrace.gauges import DATA_SOURCE_DRIFTED
from headrace.settings import Settings
from headrace.steps.sweep import LOOKED_AT, Turn
from producers.levels import of_control
from tests.integration.command import Command, change


@pytest.fixture
def drifted(headrace: Command, project: Path) -> str:
    """The path of a store that lost a column after it was filled."""
    assert headrace("sync").code == 0
    path = store_path()
    change(path, "ALTER TABLE users DROP COLUMN email")
    return path


def stores() -> dict[str, DataSourceId]:
    """The data sources by the paths of their files."""
    with closing(sqlite3.connect(".headrace/control.db")) as control:
        rows = control.execute("SELECT id, body FROM data_source ORDER BY id").fetchall()
    return {str(json.loads(body)["url"]).removeprefix("sqlite:///"): DataSourceId(id_) for id_, body in rows}


def store_path() -> str:
    return next(iter(stores()))


def data_source_at(path: str) -> DataSourceId:
    return stores()[path]


def emails(path: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as store:
        return store.execute("SELECT email FROM users ORDER BY 1").fetchall()


def test_a_drifted_data_source_is_shown_and_mended_by_apply(
    headrace: Command, project: Path, drifted: str
) -> None:
    change("sources/app.db", "UPDATE users SET email = 'new' || id || '@example.com'")
    with wiring.build(Settings(), process="cli") as app:
        for feed in app.status.feed_status():
            if feed.source_id == "users":
                app.reconcile(feed.feed_id, full=True)
        for target in app.targets():
            if target[1] == "users" and target[0] == data_source_at(drifted):
                with pytest.raises(DataSourceDriftedError, match=r"users\.email is missing"):
                    app.merge(*target)
        assert of_control(app)[DATA_SOURCE_DRIFTED] == {(data_source_at(drifted),): 1}
    found = headrace("doctor", "--json")
    assert found.code == 1
    assert any("drifted: column users.email is missing" in f["what"] for f in found.json)
    assert "users.email is missing" in headrace("status").out
    shown = headrace("status", "--json").json
    assert any(feed["drifted"] for feed in shown)
    assert headrace("records", "users").code != 0

    assert headrace("apply").code == 0
    assert headrace("sync").code == 0
    assert None not in {email for (email,) in emails(drifted)}
    assert headrace("doctor").code == 0
    assert not any(feed["drifted"] for feed in headrace("status", "--json").json)


def test_a_sweep_finds_drift_and_that_it_is_over(headrace: Command, project: Path, drifted: str) -> None:
    with wiring.build(Settings(), process="scheduler") as app:
        app.sweep()
        ((target, lacking),) = app.drift.drifted().items()
        assert target[1] == "users"
        assert lacking == ("column users.email is missing",)
        change(drifted, "ALTER TABLE users ADD COLUMN email TEXT")
        app.sweep()
        assert app.drift.drifted() == {}


def test_other_models_go_on(headrace: Command, project: Path, drifted: str) -> None:
    with wiring.build(Settings(), process="cli") as app:
        models = {model for _, model in app.targets()} - {"users"}
        for target in app.targets():
            if target[1] in models:
                app.merge(*target)


def test_swapped_files_stop_before_anything_is_read(headrace: Command, project: Path) -> None:
    assert headrace("sync").code == 0
    path = store_path()
    change(path, "UPDATE _identity SET workspace = 'of somebody else'")
    with (
        wiring.build(Settings(), process="cli") as app,
        pytest.raises(DataSourceUnfitError, match="of somebody else"),
    ):
        app.stores.open(data_source_at(path)).held_rows()
    shown = headrace("records", "users")
    assert shown.code != 0
    assert shown.out == ""


def test_a_sweep_takes_turns_where_there_are_many() -> None:
    targets: list[Any] = [(f"ds{i}", "users") for i in range(2 * LOOKED_AT + 10)]
    turn = Turn()
    seen = [target for _ in range(3) for target in turn.next(targets, LOOKED_AT)]
    assert set(seen) == set(targets)
    assert len(seen) == 3 * LOOKED_AT
    assert turn.next(targets[:5], LOOKED_AT) == targets[:5]
