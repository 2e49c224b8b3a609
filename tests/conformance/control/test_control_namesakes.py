"""Customers of two visibility groups who have one `provided_id` never have records in one data source, and a
dedicated data source never gets two, whatever moves, is switched or deleted."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from headrace.control.assigning import wanted_bindings
from headrace.control.customers import NewCustomer, SqlCustomers
from headrace.control.engine import insert_or, writing
from headrace.control.moves import SqlMoves
from headrace.control.route_cache import RouteCache
from headrace.control.tables import binding, customer
from headrace.control.types import now
from headrace.domain.assignment import Asked
from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import BatchKind, DataSourceId
from headrace.errors import RefusedError
from headrace.ports import MoveProgress, Routing
from tests.conformance.control.project import BODIES, MAIN, PURCHASES, SIDE, USERS, USERS_MODEL, Control, rows

PRODUCTION, TESTING = "production", "testing"
BOTH = {"visibility_groups": [PRODUCTION, TESTING]}
TWO_GROUPS: dict[tuple[str, str], Any] = BODIES | {
    ("visibility_groups", TESTING): {"name": "Testing"},
    ("data_sources", "main"): BODIES["data_sources", "main"] | BOTH,
    ("data_sources", "side"): BODIES["data_sources", "side"] | BOTH | {"default_for": [TESTING]},
    ("data_sources", "alone"): BODIES["data_sources", "side"] | {"isolation": "dedicated"} | BOTH,
}


@pytest.fixture
def control(control: Control) -> Control:
    """Production's customers go to main, testing's to side."""
    control.apply(USERS, PURCHASES, bodies=TWO_GROUPS)
    return control


def routing(control: Control, name: str, group: str = PRODUCTION) -> Routing:
    return control.routes.resolve(
        schema="shop", visibility_group=group, customers=[name], create_unknown=True
    )


def settle(control: Control, name: str, group: str = PRODUCTION) -> None:
    """A poll has journalled the first row of the customer."""
    found = routing(control, name, group)
    claimed = control.claimed()
    control.append(
        claimed,
        *(rows(target) for target in found.data_sources.values()),
        newcomers=tuple(found.newcomers.values()),
        routing_version=found.version,
    )
    control.release(claimed)


def id_of(control: Control, name: str, group: str = PRODUCTION) -> str:
    return str(SqlCustomers(control.engine).get(group, f"provided:{name}").id)


def make(control: Control, name: str, *, below: str, group: str = PRODUCTION) -> None:
    new = NewCustomer(provided_id=name, parent=f"provided:{below}")
    SqlCustomers(control.engine).create(group, new, actor="test")


def led_to(control: Control, name: str, group: str) -> set[DataSourceId]:
    found = routing(control, name, group)
    return {*found.data_sources.values(), *found.moving.values()}


def test_a_namesake_of_who_inherits_a_move_is_held_where_it_leads(control: Control) -> None:
    settle(control, "top")
    make(control, "child", below="top")
    settle(control, "child")
    SqlMoves(control.engine).start(id_of(control, "top"), "shop", SIDE, actor="test")
    assert led_to(control, "child", PRODUCTION) == {MAIN, SIDE}
    assert led_to(control, "child", TESTING) == set()


def test_who_is_made_below_a_mover_is_held_where_a_namesake_lives(control: Control) -> None:
    settle(control, "child", TESTING)
    settle(control, "top")
    SqlMoves(control.engine).start(id_of(control, "top"), "shop", SIDE, actor="test")
    make(control, "child", below="top")
    assert led_to(control, "child", TESTING) == {SIDE}
    assert led_to(control, "child", PRODUCTION) == set()


def test_a_namesake_is_held_where_a_switch_has_left_records(control: Control) -> None:
    settle(control, "ann")
    SqlMoves(control.engine).switch(id_of(control, "ann"), "shop", DataSourceId("alone"), actor="test")
    control.routes.resolve(schema="shop", visibility_group=TESTING, customers=["ann"], create_unknown=True)
    moves = SqlMoves(control.engine)
    with pytest.raises(RefusedError) as refused:
        moves.switch(id_of(control, "ann", TESTING), "shop", MAIN, actor="test")
    assert refused.value.code == Refusal.DATA_SOURCE_CONFLICT
    moves.switch(id_of(control, "ann"), "shop", MAIN, actor="test")
    assert led_to(control, "ann", PRODUCTION) == {MAIN}, "it may go back itself"


def test_deleting_a_customer_drops_what_a_switch_has_left_too(control: Control) -> None:
    settle(control, "ann")
    SqlMoves(control.engine).switch(id_of(control, "ann"), "shop", SIDE, actor="test")
    SqlCustomers(control.engine).delete(PRODUCTION, "provided:ann", actor="test")
    (log,) = control.journal.logs(MAIN, USERS_MODEL)
    waiting = control.journal.waiting(log, after_seq=0, max_batches=10, max_bytes=10**6)
    assert [batch.meta["customers"] for batch in waiting if batch.kind is BatchKind.DROP] == [["ann"]]


def test_a_move_and_a_new_customer_do_not_both_get_a_dedicated_data_source(control: Control) -> None:
    if control.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    settle(control, "ann")
    ann, refused = id_of(control, "ann"), []

    def move() -> None:
        try:
            SqlMoves(control.engine).start(ann, "shop", DataSourceId("alone"), actor="test")
        except RefusedError as error:
            refused.append(error.code)

    moving = threading.Thread(target=move)
    with writing(control.engine) as connection:  # as `SqlCustomers.create` does, slowly
        asked = Asked(data_source_id="alone")
        wanted = wanted_bindings(connection, PRODUCTION, asked)
        made = {"id": "bob", "provided_id": "bob", "visibility_group": PRODUCTION, "name": "Bob"}
        connection.execute(sa.insert(customer).values(**made, properties={}, origin="api", made_at=now()))
        moving.start()
        moving.join(timeout=0.5)
        for schema, id_ in wanted.items():
            bound = insert_or(connection, binding).values(
                customer_id="bob", schema=schema, data_source_id=id_, origin="explicit"
            )
            connection.execute(bound)
    moving.join(timeout=10)
    assert refused == [Refusal.DATA_SOURCE_DEDICATED]


# --- what is still to be dropped ----------------------------------------------------------------


def moved_away(control: Control) -> None:
    """Production's ann has moved from main to side; main has not dropped her rows yet."""
    settle(control, "ann")
    merge(control)
    moves = SqlMoves(control.engine)
    move = moves.start(id_of(control, "ann"), "shop", SIDE, actor="test")
    claimed = control.claimed()
    control.append(claimed, move=MoveProgress(move_id=move.id, after=None, done=True))
    control.release(claimed)
    assert moves.flip(move.id)


def merge(control: Control) -> None:
    for target in (MAIN, SIDE):
        for log in control.journal.logs(target, USERS_MODEL):
            waiting = control.journal.waiting(log, after_seq=log.merged_seq, max_batches=100, max_bytes=10**6)
            control.journal.mark_merged([batch.id for batch in waiting], rows_changed=0)


def first_batches(control: Control) -> list[tuple[BatchKind, Any]]:
    """What waits for main, from the begin of its log."""
    (log,) = control.journal.logs(MAIN, USERS_MODEL)
    waiting = control.journal.waiting(log, after_seq=0, max_batches=10, max_bytes=10**6)
    return [(batch.kind, batch.meta["customers"]) for batch in waiting]


def test_a_namesake_finds_nothing_until_the_records_of_who_moved_away_are_dropped(control: Control) -> None:
    moved_away(control)
    new = NewCustomer(provided_id="ann", asked=Asked(data_source_id="main"))
    SqlCustomers(control.engine).create(TESTING, new, actor="test")
    settle(control, "ann", TESTING)
    routes = RouteCache(control.engine)
    assert not routes.resolve(TESTING, "ann", "shop").resident
    merge(control)
    assert routes.resolve(TESTING, "ann", "shop").resident


def test_a_source_that_is_read_again_forgets_no_drop(control: Control) -> None:
    moved_away(control)
    control.apply(replace(USERS, reread=True), PURCHASES, bodies=TWO_GROUPS)
    assert first_batches(control) == [(BatchKind.DROP, ["ann"])]


def test_a_store_that_has_rows_again_drops_them_again(control: Control) -> None:
    moved_away(control)
    merge(control)
    assert control.journal.begin_new_log(control.log(MAIN), "restored")
    assert first_batches(control) == [(BatchKind.DROP, ["ann"])]


def test_a_store_does_not_drop_again_who_has_come_back(control: Control) -> None:
    moved_away(control)
    merge(control)
    SqlMoves(control.engine).switch(id_of(control, "ann"), "shop", MAIN, actor="test")
    assert control.journal.begin_new_log(control.log(MAIN), "restored")
    assert first_batches(control) == []
