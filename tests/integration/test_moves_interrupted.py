"""What happens while a customer moves, and must neither lose its rows nor end the move half done."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from headrace.control.move_tables import MoveState
from headrace.control.moves import Move
from headrace.domain.record_query import RecordQuery
from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.errors import ConfigurationError
from headrace.steps.records import Reading
from tests.integration.test_steps_apply import apply, changed, define, with_column
from tests.integration.world import ACCOUNTS, PURCHASES, USERS, Seen
from tests.properties.history import NOW

EAST, WEST, MODEL = DataSourceId("east"), DataSourceId("west"), ModelId("users")
T1 = "2024-01-01 00:00:01.000"


@pytest.fixture
def world(world: Seen) -> Seen:
    """The customer `f` lives in east, with a user, a purchase and an account."""
    world.user(1, "Fay", T1, "f")
    world.write(f"INSERT INTO purchases VALUES (1, 1, '5', 'pen', 'f', {NOW})", ())
    world.account(1, "Fay & sons", "f")
    world.settle()
    assert users(world, EAST) == [(1, "Fay", 1, "pen")]
    return world


def users(world: Seen, place: str, customer: str = "f") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(world.directory / f"{place}.db")) as store:
        return store.execute(
            "SELECT id, name, purchase_count, first_item FROM users WHERE _customer_id = ? ORDER BY id",
            (customer,),
        ).fetchall()


def accounts(world: Seen, place: str, customer: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(world.directory / f"{place}.db")) as store:
        return store.execute(
            "SELECT id, name FROM _staged_accounts WHERE _customer_id = ? ORDER BY id", (customer,)
        ).fetchall()


def start(world: Seen, to: DataSourceId = WEST, customer: str = "f") -> Move:
    ((customer_id,),) = world.asked("SELECT id FROM customer WHERE provided_id = ?", customer)
    return world.app.moves.start(customer_id, "s", to, actor="test")


def customers(world: Seen) -> list[str]:
    """The names of customers' files."""
    return [f"customers/{file.stem}" for file in sorted((world.directory / "config/customers").iterdir())]


def state(world: Seen, move: Move) -> MoveState:
    return world.app.moves.get(move.id).state


def read(world: Seen) -> None:
    for source in (USERS, PURCHASES, ACCOUNTS):
        world.poll(source)


def limit(world: Seen, **limits: Any) -> None:
    fetch = world.app._fetch
    world.app._fetch = replace(fetch, limits=replace(fetch.limits, **limits))


def whole(world: Seen, move: Move) -> bool:
    """The customer is found whole where it lives; in a data source that it moves to it may be half."""
    home = world.home("f")
    assert home is not None
    return users(world, home) == [(1, "Fay", 1, "pen")] and (home == WEST) == (
        state(world, move) is MoveState.MOVED
    )


def test_a_source_that_is_read_again_meanwhile_is_read_again_for_the_move_too(world: Seen) -> None:
    move = start(world)
    read(world)
    define(world, "sources/purchases", with_column("amount"))
    assert apply(world).reread
    world.app.merge(WEST, MODEL)
    assert state(world, move) is MoveState.READING
    world.settle()
    assert state(world, move) is MoveState.MOVED
    assert users(world, WEST) == [(1, "Fay", 1, "5")]


def test_a_feed_that_takes_the_place_of_another_meanwhile_reads_for_the_move(world: Seen) -> None:
    move = start(world)
    read(world)
    define(world, "apps/app", None)
    (world.directory / "config/apps/other.json").write_text(
        '{"name": "App", "type": "sqlite", "url": "sqlite:///${WORLD}/source.db"}'
    )
    for source in (USERS, PURCHASES, ACCOUNTS):
        define(world, f"sources/{source}", changed(f"sources/{source}", app="other"))
    report = apply(world)
    assert not report.failed, report
    for target in world.app.targets():
        world.app.merge(*target)
    assert whole(world, move)
    world.feeds = world.active_feeds()
    world.settle()
    assert state(world, move) is MoveState.MOVED
    assert whole(world, move)


def test_a_data_source_that_lost_what_was_read_for_a_move_is_filled_before_its_end(world: Seen) -> None:
    world.app.merge(WEST, MODEL)
    world.back_up("west")
    move = start(world)
    world.app.commands.pause(PURCHASES, reason="test")
    read_users_and_accounts(world)
    world.merge()
    assert state(world, move) is MoveState.READING
    world.restore("west")
    world.app.commands.resume(PURCHASES)
    world.poll(PURCHASES)
    world.merge()
    assert whole(world, move)
    world.settle()
    assert state(world, move) is MoveState.MOVED
    assert whole(world, move)


def read_users_and_accounts(world: Seen) -> None:
    world.poll(USERS)
    world.poll(ACCOUNTS)


def test_a_data_source_that_takes_no_more_stops_moves_into_it_alone(world: Seen) -> None:
    """Sources without a cursor are read by reconciling alone, and so are the deletes of all others."""
    world.account(2, "Eve & sons", "w")
    world.poll(ACCOUNTS)
    move = start(world)
    limit(world, max_batches=2)
    world.account(3, "Emma & sons", "e")
    for _ in range(3):
        world.app.merge(EAST, MODEL)
        world.poll(ACCOUNTS)
    world.app.merge(EAST, MODEL)
    assert accounts(world, EAST, "e") == [(3, "Emma & sons"), (100, None)]
    assert state(world, move) is MoveState.READING
    world.settle()
    assert state(world, move) is MoveState.MOVED


def test_what_came_and_went_while_a_move_read_it_is_not_left_behind(world: Seen) -> None:
    """A source without a cursor is as it was journalled last, but not as it was read for the move."""
    move = start(world)
    world.account(2, "brief", "f")
    seen: list[Any] = []

    def told(name: str, args: tuple[Any, ...]) -> None:
        if name == "append" and args[1].move is not None and not seen:
            seen.append(args)
            world.write("DELETE FROM accounts WHERE id = 2", ())

    world.watch(told)
    world.poll(ACCOUNTS)
    assert seen
    world.poll(USERS)
    world.poll(PURCHASES)
    world.settle()
    assert state(world, move) is MoveState.MOVED
    assert accounts(world, WEST, "f") == [(1, "Fay & sons")]


def test_what_a_switch_left_behind_does_not_come_back_with_a_move(world: Seen) -> None:
    world.user(2, "Flo", T1, "f")
    world.reconcile(USERS, full=True)
    world.settle()
    ((customer_id,),) = world.asked("SELECT id FROM customer WHERE provided_id = 'f'")
    world.app.moves.switch(customer_id, "s", WEST, actor="test")
    world.write("DELETE FROM users WHERE id = 2", ())
    world.app.commands.pause(PURCHASES, reason="test")
    move = start(world, EAST)
    read_users_and_accounts(world)
    world.app.commands.resume(PURCHASES)
    world.poll(PURCHASES)
    world.merge()
    assert state(world, move) is MoveState.MOVED
    assert users(world, EAST) == [(1, "Fay", 1, "pen")]


def test_a_removed_target_of_a_move_is_told_and_nothing_is_applied(world: Seen) -> None:
    start(world)
    for file in customers(world):
        define(world, file, None)
    define(world, "data_sources/west", None)
    with pytest.raises(ConfigurationError, match="move to it"):
        apply(world)


def test_a_move_of_a_schema_that_lost_its_models_ends(world: Seen) -> None:
    move = start(world)
    for name in ("models/users", *(f"sources/{s}" for s in (USERS, PURCHASES, ACCOUNTS))):
        define(world, name, None)
    report = apply(world)
    assert not report.failed, report
    world.app.sweep()
    assert state(world, move) is MoveState.MOVED


def test_a_customer_does_not_move_into_what_was_disabled_meanwhile(world: Seen) -> None:
    move = start(world)
    world.app.data_sources.disable(WEST, actor="test", within=None)
    read(world)
    for target in (EAST, WEST):
        world.app.merge(target, MODEL)
    assert state(world, move) is MoveState.READING
    assert world.home("f") == EAST
    world.app.registering.activate(WEST, actor="test", within=None)
    world.settle()
    assert state(world, move) is MoveState.MOVED


def test_no_apply_takes_its_data_source_from_the_group_of_a_customer_who_moves(world: Seen) -> None:
    """It would have no data source to be read from until then, and half of its records after."""
    start(world)
    (world.directory / "config/visibility_groups/other.json").write_text('{"name": "Other"}')
    define(world, "apps/app", changed("apps/app", visibility_group="g"))
    for file in customers(world):
        define(world, file, changed(file, visibility_group="g"))
    west = changed("data_sources/west", visibility_groups=["g"])
    define(world, "data_sources/west", west)
    define(
        world, "data_sources/east", changed("data_sources/east", visibility_groups=["other"], default_for=[])
    )
    with pytest.raises(ConfigurationError, match="enter or leave a move"):
        apply(world)


def test_a_data_source_that_is_away_keeps_only_moves_from_it_from_their_end(world: Seen) -> None:
    move = start(world)
    read(world)
    world.app.stores.close()
    east, away = world.directory / "east.db", world.directory / "away.db"
    east.rename(away)
    east.mkdir()
    report = world.app.merge(WEST, MODEL)
    assert report.batches
    assert state(world, move) is MoveState.READING
    east.rmdir()
    away.rename(east)
    world.settle()
    assert state(world, move) is MoveState.MOVED


def test_who_is_made_again_finds_nothing_of_what_is_still_to_be_dropped(world: Seen) -> None:
    world.app.customers.delete("g", "provided:f", actor="test")
    world.write(f"INSERT INTO users VALUES (9, 'f', NULL, 'New', {NOW})", ())
    world.poll(USERS)
    reading = Reading("g", "f", "s", world.app.catalogue().model(MODEL))
    everything = RecordQuery(limit=10)
    assert world.app.records.page(reading, everything)[1].items == ()
    world.settle()
    (record,) = world.app.records.page(reading, everything)[1].items
    assert '"name":"New"' in record
