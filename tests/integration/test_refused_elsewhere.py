"""Rows that one data source refused, and what another merges of them: the feed's order decides."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.integration.world import USERS, Seen, prepared, world_of

REFUSES = """
CREATE TRIGGER refuses BEFORE INSERT ON users WHEN NEW.name = 'bad'
BEGIN SELECT RAISE(ABORT, 'no bad names'); END
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """Both stores hold a row; west refuses a user who is called bad."""
    with world_of(prepared(tmp_path / "template"), tmp_path / "world", monkeypatch) as world:
        world.user(8, "warm", now(), "e")
        world.user(9, "warm", now(), "w")
        world.poll(USERS)
        world.merge()
        with closing(sqlite3.connect(world.directory / "west.db")) as west:
            west.execute(REFUSES)
            west.commit()
        yield world


def now() -> str:
    """As the source's cursors are written."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def merge_into(world: Seen, store: str) -> None:
    for target in world.app.targets():
        while target[0] == store and world.app.merge(*target).unfinished:
            pass


def states(world: Seen) -> list[str]:
    return [state for (state,) in world.asked("SELECT state FROM rejected_row ORDER BY id")]


def moved_and_refused(world: Seen) -> None:
    """User 1 was read for east and then for west, which has refused it; east has merged nothing of it."""
    world.user(1, "old", now(), "e")
    world.poll(USERS)
    world.user(1, "bad", now(), "w")
    world.poll(USERS)
    merge_into(world, "west")
    assert states(world) == ["open"]


def test_an_older_version_merged_late_elsewhere_leaves_the_refused_row_open(world: Seen) -> None:
    moved_and_refused(world)
    merge_into(world, "east")
    assert states(world) == ["open"]


def test_a_later_version_merged_elsewhere_closes_the_refused_row(world: Seen) -> None:
    moved_and_refused(world)
    world.user(1, "good", now(), "e")
    world.poll(USERS)
    merge_into(world, "east")
    assert states(world) == ["resolved"]
    assert world.user_names()["e", 1] == "good"
