"""Applying again: what cannot follow stays as it was, what reads something else begins anew."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace.definition.loader import load
from headrace.domain.vocabulary import AppId, SourceId
from headrace.errors import ConfigurationError
from headrace.steps.apply import ApplyReport
from tests.integration.shop import Shop, definitions
from tests.integration.world import ACCOUNTS, PURCHASES, USERS, Seen
from tests.properties.history import NOW, PREPARED


@pytest.fixture
def world(world: Seen) -> Seen:
    world.user(1, "Ann", "2024-01-01 00:00:01.000")
    world.write(f"INSERT INTO purchases VALUES (1, 1, '5', 'pen', 'e', {NOW})", ())
    world.settle()
    assert records(world) == [("Ann", 1, "pen")]
    return world


def records(world: Seen) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(world.directory / "east.db")) as store:
        return store.execute("SELECT name, purchase_count, first_item FROM users WHERE id = 1").fetchall()


def define(world: Seen, name: str, body: dict[str, Any] | None) -> None:
    file = world.directory / "config" / f"{name}.json"
    file.unlink()
    if body is not None:
        file.write_text(json.dumps(body))


def changed(name: str, **keys: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(json.dumps(PREPARED[f"{name}.json"]))
    return {**body, **keys}


def with_column(column: str) -> dict[str, Any]:
    """The purchases with another item."""
    body = changed("sources/purchases")
    body["properties"]["first_item"]["column"] = column
    return body


def apply(world: Seen) -> ApplyReport:
    return world.app.apply(load(world.directory / "config", dict(os.environ)))


def test_applying_the_same_again_changes_nothing(world: Seen) -> None:
    feeds = world.active_feeds()
    version = world.app.definitions_table.version()
    report = apply(world)
    assert (report.failed, tuple(report.reread), report.version) == (False, (), version)
    assert all(not store.changes for store in report.stores)
    assert world.active_feeds() == feeds


def test_a_misspelt_column_is_a_fault_and_drops_nothing(world: Seen) -> None:
    feeds = world.active_feeds()
    define(world, "sources/purchases", with_column("itme"))
    report = apply(world)
    assert [Path(fault.file).name for fault in report.faults] == ["purchases.json"]
    assert "model users is left as it was applied" in report.faults[0].message
    assert (world.active_feeds(), tuple(report.reread)) == (feeds, ())
    assert records(world) == [("Ann", 1, "pen")]
    world.write(f"INSERT INTO purchases VALUES (2, 1, '5', 'ink', 'e', {NOW})", ())
    world.settle()
    assert records(world) == [("Ann", 2, "pen")]


def test_a_source_that_cannot_be_asked_keeps_its_shape_and_its_feed(world: Seen) -> None:
    feeds = world.active_feeds()
    source = world.directory / "source.db"
    source.rename(source.with_suffix(".away"))
    plan, report = world.app.plan(load(world.directory / "config", dict(os.environ))), apply(world)
    assert report.failed
    assert plan.faults == report.faults
    assert (world.active_feeds(), tuple(report.reread)) == (feeds, ())
    assert records(world) == [("Ann", 1, "pen")]
    define(world, "sources/purchases", with_column("amount"))
    assert apply(world).failed
    source.with_suffix(".away").rename(source)
    world.settle()
    assert records(world) == [("Ann", 1, "5")]


def test_what_reads_other_columns_is_read_again(world: Seen) -> None:
    define(world, "sources/purchases", with_column("amount"))
    report = apply(world)
    assert tuple(report.reread) == ((PURCHASES, "app"),)
    world.settle()
    assert records(world) == [("Ann", 1, "5")]


def test_what_another_url_leads_to_is_read_again(world: Seen) -> None:
    other = world.directory / "other.db"
    world.source.execute("VACUUM INTO ?", (str(other),))
    with sqlite3.connect(other) as source:
        source.execute("UPDATE users SET name = 'Eve' WHERE id = 1")
    source.close()
    define(world, "apps/app", changed("apps/app", url="sqlite:///${WORLD}/other.db"))
    report = apply(world)
    assert {source_id for source_id, _ in report.reread} == {USERS, PURCHASES, ACCOUNTS}
    world.settle()
    assert records(world) == [("Eve", 1, "pen")]


def test_a_source_that_is_removed_and_added_again_begins_anew(world: Seen) -> None:
    feed_id = world.feed(PURCHASES)
    define(world, "sources/purchases", None)
    assert not apply(world).failed
    assert world.app.commands.feeds(PURCHASES) == []
    world.write("DELETE FROM purchases WHERE id = 1", ())
    world.write(f"INSERT INTO purchases VALUES (3, 1, '5', 'cap', 'e', {NOW})", ())
    (world.directory / "config/sources/purchases.json").write_text(json.dumps(changed("sources/purchases")))
    assert not apply(world).failed
    (begun,) = world.app.commands.feeds(PURCHASES)
    assert begun != feed_id
    for feed in world.app.commands.feeds():
        world.app.poll(feed)
    world.merge()
    assert records(world) == [("Ann", 1, "cap")]


def test_a_data_source_that_cannot_follow_stops_no_other_and_merges_when_it_can(world: Seen) -> None:
    west = world.directory / "west.db"
    west.rename(west.with_suffix(".away"))
    west.mkdir()
    define(world, "sources/purchases", with_column("amount"))
    report = apply(world)
    assert [s.data_source_id for s in report.stores if s.error] == ["west"]
    world.poll(PURCHASES)
    world.app.merge(*world.app.targets()[0])
    assert records(world) == [("Ann", 1, "5")]
    west.rmdir()
    west.with_suffix(".away").rename(west)
    assert not apply(world).failed
    world.settle()
    assert world.pending() == 0


def test_what_another_version_applied_is_read_again(world: Seen) -> None:
    with closing(sqlite3.connect(world.directory / "control.db")) as control, control:
        control.execute("""UPDATE definition_version SET compiled = '{"shapes": []}'""")
    world.restart()
    with pytest.raises(ConfigurationError, match="another version"):
        world.app.catalogue()
    report = apply(world)
    assert (report.failed, len(report.reread)) == (False, len(world.active_feeds()))
    world.settle()
    assert records(world) == [("Ann", 1, "pen")]


def test_keys_that_an_app_orders_otherwise_bound_no_chunks_of_its_feed(tmp_path: Path) -> None:
    for app, kind in (("one", "INTEGER"), ("two", "TEXT")):
        with closing(sqlite3.connect(tmp_path / f"{app}.db")) as source:
            source.execute(f"CREATE TABLE users (id {kind} PRIMARY KEY NOT NULL, updated_at TEXT)")
    shared = definitions("sqlite", "", tmp_path)
    users = shared["sources/users"] | {"apps": ["one", "two"], "properties": {}}
    bodies = {
        **{
            f"apps/{app}": {
                "name": app,
                "type": "sqlite",
                "url": f"sqlite:///{tmp_path}/{app}.db",
                "customer": app,
            }
            for app in ("one", "two")
        },
        **{
            place: shared[place]
            for place in ("schemas/shop", "visibility_groups/all", "data_sources/main", "models/users")
        },
        "sources/users": {key: value for key, value in users.items() if key != "app"},
    }
    shop = Shop("sqlite", "", tmp_path)
    with closing(shop.app):
        for place, body in bodies.items():
            shop.define(place, body)
        shop.apply()
        feeds = {app: shop.app.catalogue().feed(SourceId(USERS), AppId(app)) for app in ("one", "two")}
    assert {app: feed.chunkable for app, feed in feeds.items()} == {"one": True, "two": False}
