"""Events of a customer who moves: each change is told once, by the data source where the customer lives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.domain.vocabulary import DataSourceId, ModelId
from tests.integration.test_moves_interrupted import EAST, T1, WEST, start
from tests.integration.world import PURCHASES, USERS, Seen, prepared, world_of
from tests.properties.history import NOW

MODEL = ModelId("users")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    loud = {f"data_sources/{name}.json": {"events": True} for name in ("east", "west")}
    return prepared(tmp_path_factory.mktemp("events") / "template", loud)


@pytest.fixture
def world(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    with world_of(template, tmp_path / "world", monkeypatch) as world:
        world.user(1, "Fay", T1, "f")
        world.write(f"INSERT INTO purchases VALUES (1, 1, '5', 'pen', 'f', {NOW})", ())
        world.settle()
        yield world


def told(world: Seen, place: DataSourceId) -> list[tuple[str, str]]:
    """Kind and name of each event of the customer who moves."""
    outbox = world.app.stores.open(place).outbox
    assert outbox is not None
    events = outbox.events(MODEL, after=0, limit=100)
    return [
        (e.kind.value, json.loads(e.record)["name"] if e.record else "") for e in events if e.customer == "f"
    ]


def rename(world: Seen, name: str) -> None:
    world.write(f"UPDATE users SET name = ?, updated_at = {NOW} WHERE id = 1", (name,))


def test_a_move_makes_no_events_of_its_own(world: Seen) -> None:
    before = told(world, EAST)
    start(world)
    world.settle()
    assert world.home("f") == WEST
    assert (told(world, EAST), told(world, WEST)) == (before, [])


def test_a_change_during_a_move_is_told_once_by_where_the_customer_lives(world: Seen) -> None:
    before = told(world, EAST)
    start(world)
    rename(world, "Faye")
    world.poll(USERS)
    world.poll(PURCHASES)
    world.settle()
    assert world.home("f") == WEST
    assert (told(world, EAST), told(world, WEST)) == ([*before, ("updated", "Faye")], [])

    rename(world, "Fey")
    world.settle()
    assert (told(world, EAST), told(world, WEST)) == ([*before, ("updated", "Faye")], [("updated", "Fey")])
