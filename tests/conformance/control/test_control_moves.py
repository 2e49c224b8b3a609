"""A move of a customer: where its rows go meanwhile, when it may end, and what is dropped then."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from headrace.control.customer_change import CustomerChange
from headrace.control.customers import NewCustomer, SqlCustomers
from headrace.control.engine import writing
from headrace.control.feed_moves import SETTLES_WITHIN_S
from headrace.control.move_tables import MoveState
from headrace.control.moves import Move, SqlMoves
from headrace.control.tables import batch
from headrace.control.types import from_now
from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import BatchKind, DataSourceId
from headrace.errors import ConfigurationError, RefusedError, RoutingChangedError
from headrace.ports import MoveProgress, Routing
from tests.conformance.control.project import (
    BODIES,
    MAIN,
    PURCHASES,
    SIDE,
    USERS,
    USERS_MODEL,
    Control,
    rejected,
    rows,
)

ANN = "ann"


def bodies(**changed: Any) -> dict[tuple[str, str], Any]:
    """BODIES with definitions added, by `kind__id`."""
    return BODIES | {tuple(name.split("__", 1)): body for name, body in changed.items()}  # type: ignore[misc]


def routing(control: Control, *names: str, group: str = "production") -> Routing:
    return control.routes.resolve(
        schema="shop", visibility_group=group, customers=names or [ANN], create_unknown=True
    )


def settle(control: Control, *names: str, source: str = "users", to: DataSourceId = MAIN) -> None:
    """A poll of the source has journalled first rows of these customers, and they are merged."""
    resolved = routing(control, *names)
    claimed = control.claimed(source)
    control.append(
        claimed,
        rows(to),
        newcomers=tuple(resolved.newcomers.values()),
        routing_version=resolved.version,
    )
    control.release(claimed)
    merge(control)


def merge(control: Control) -> None:
    for target in (MAIN, SIDE):
        for log in control.journal.logs(target, USERS_MODEL):
            seq = log.merged_seq
            waiting = control.journal.waiting(log, after_seq=seq, max_batches=100, max_bytes=10**6)
            control.journal.mark_merged([batch.id for batch in waiting], rows_changed=0)


def id_of(control: Control, name: str = ANN) -> str:
    with control.engine.connect() as connection:
        query = sa.text("SELECT id FROM customer WHERE provided_id = :name")
        return str(connection.execute(query, {"name": name}).scalar_one())


def start(control: Control, name: str = ANN, to: DataSourceId = SIDE) -> Move:
    return SqlMoves(control.engine).start(id_of(control, name), "shop", to, actor="test")


def read(control: Control, move: Move, source: str = "users", *batches: Any) -> None:
    """A poll of the source reads its rows for the move to the end."""
    claimed = control.claimed(source)
    done = MoveProgress(move_id=move.id, after=None, done=True)
    control.append(claimed, *batches, move=done)
    control.release(claimed)


def drops(control: Control, target: DataSourceId) -> list[tuple[str, Any]]:
    return [
        (log.source_id, batch.meta)
        for log in control.journal.logs(target, USERS_MODEL)
        for batch in control.journal.waiting(log, after_seq=log.merged_seq, max_batches=100, max_bytes=10**6)
        if batch.kind is BatchKind.DROP
    ]


def refusal(ask: Any) -> str:
    with pytest.raises(RefusedError) as refused:
        ask()
    return refused.value.code


# --- while it is under way ----------------------------------------------------------------------


def test_rows_go_to_both_data_sources_from_the_start_on(control: Control) -> None:
    settle(control)
    before = routing(control)
    start(control)
    after = routing(control)
    assert (after.data_sources, after.moving) == ({ANN: MAIN}, {ANN: SIDE})
    claimed = control.claimed()
    assert claimed.has_moves
    with pytest.raises(RoutingChangedError):
        control.append(claimed, rows(MAIN), routing_version=before.version)


def test_each_feed_that_wrote_to_the_old_data_source_reads_for_the_move_and_no_other(
    control: Control,
) -> None:
    settle(control)
    move = start(control)
    assert move.feeds == 1
    assert [m.customers for m in control.feeds.moves(control.feed("users"))] == [(ANN,)]
    assert control.feeds.moves(control.feed("purchases")) == ()
    read(control, move)
    assert control.feeds.moves(control.feed("users")) == ()
    assert not control.claimed("users").has_moves


def test_a_reader_that_died_goes_on_after_the_last_key_that_it_journalled(control: Control) -> None:
    settle(control)
    move = start(control)
    claimed = control.claimed()
    progress = MoveProgress(move_id=move.id, after=("7",), done=False)
    control.append(claimed, rows(SIDE), move=progress)
    (found,) = control.feeds.moves(control.feed())
    assert (found.into, found.after) == (SIDE, ("7",))


def test_a_move_does_not_end_before_every_feed_has_read_and_all_of_it_is_merged(control: Control) -> None:
    settle(control)
    moves, move = SqlMoves(control.engine), start(control)
    assert not moves.flip(move.id)
    read(control, move, "users", rows(SIDE))
    assert not moves.flip(move.id), "a batch waits to be merged there"
    assert not moves.under_way(into=SIDE)[0].read
    merge(control)
    assert moves.under_way(into=SIDE)[0].read
    assert moves.flip(move.id) == [(MAIN, USERS_MODEL)]
    assert moves.get(move.id).state is MoveState.MOVED
    assert not moves.flip(move.id), "once is enough"


def settles(control: Control, source: str = "users") -> bool:
    claimed = control.claimed(source)
    control.release(claimed)
    return claimed.settles


def journal(control: Control) -> None:
    claimed = control.claimed()
    control.append(claimed, rows(SIDE))
    control.release(claimed)


def test_nothing_is_journalled_while_a_move_waits_but_for_what_came_a_moment_ago(control: Control) -> None:
    """Else there would always be another batch, and the move never end."""
    settle(control)
    assert not settles(control)
    move = start(control)
    journal(control)
    assert not settles(control), "rows are still to be read for it"
    read(control, move)
    assert settles(control)
    assert not settles(control, "purchases"), "it has nothing there"
    aged = sa.update(batch).values(journalled_at=from_now(-SETTLES_WITHIN_S - 1))
    with writing(control.engine) as connection:
        connection.execute(aged.where(batch.c.data_source_id == SIDE))
    assert not settles(control), "nobody waits long for a data source that is away"
    journal(control)
    assert not settles(control)
    merge(control)
    assert not settles(control)
    journal(control)
    assert settles(control)
    merge(control)
    assert SqlMoves(control.engine).flip(move.id)
    journal(control)
    assert not settles(control), "it has ended"


def test_a_move_does_not_end_while_the_new_data_source_begins_its_log_anew(control: Control) -> None:
    settle(control)
    moves, move = SqlMoves(control.engine), start(control)
    read(control, move, "users", rows(SIDE))
    merge(control)
    assert control.journal.begin_new_log(control.log(SIDE), "restored")
    assert not moves.flip(move.id)


def test_a_move_does_not_end_while_rows_that_the_new_data_source_refused_are_open(control: Control) -> None:
    settle(control)
    moves, move = SqlMoves(control.engine), start(control)
    read(control, move, "users", rows(SIDE))
    (waiting,) = control.journal.waiting(control.log(SIDE), after_seq=0, max_batches=9, max_bytes=10**6)
    control.journal.set_aside(waiting.id, [rejected()])
    merge(control)
    assert not moves.flip(move.id)
    control.runs.discard(actor="test")
    assert moves.flip(move.id)


# --- its end ------------------------------------------------------------------------------------


def test_the_end_leads_to_the_new_data_source_and_drops_the_customer_from_the_old_one(
    control: Control,
) -> None:
    settle(control)
    moves, move = SqlMoves(control.engine), start(control)
    read(control, move)
    moves.flip(move.id)
    after = routing(control)
    assert (after.data_sources, after.moving, after.newcomers) == ({ANN: SIDE}, {}, {})
    assert drops(control, MAIN) == [("users", {"customers": [ANN], "epoch": after.version})]
    assert control.count("binding", "epoch = 2 AND origin = 'explicit' AND moving_to IS NULL") == 1
    assert control.count("audit", "action = 'customer.move.end'") == 1


def test_who_inherits_the_binding_moves_along_and_who_has_its_own_stays(control: Control) -> None:
    tree = bodies(
        customers__top={"name": "Top", "data_sources": {"shop": "main"}},
        customers__child={"name": "Child", "parent": "top"},
        customers__own={"name": "Own", "parent": "top", "data_sources": {"shop": "main"}},
    )
    control.apply(USERS, PURCHASES, bodies=tree)
    settle(control, "top", "child", "own")
    moves, move = SqlMoves(control.engine), start(control, "top")
    assert routing(control, "top", "child", "own").moving == {"top": SIDE, "child": SIDE}
    read(control, move)
    moves.flip(move.id)
    led = routing(control, "top", "child", "own")
    assert led.data_sources == {"top": SIDE, "child": SIDE, "own": MAIN}
    assert drops(control, MAIN)[0][1]["customers"] == ["child", "top"]


def test_a_customer_without_records_has_moved_at_once(control: Control) -> None:
    routing(control)
    move = start(control)
    assert move.state is MoveState.MOVED
    assert routing(control).data_sources == {ANN: SIDE}
    assert control.count("batch") == 0


def test_a_switch_leads_elsewhere_and_leaves_what_is_stored(control: Control) -> None:
    settle(control)
    SqlMoves(control.engine).switch(id_of(control), "shop", SIDE, actor="test")
    after = routing(control)
    assert (after.data_sources, after.newcomers) == ({ANN: SIDE}, {})
    assert drops(control, MAIN) == []


# --- cancelled ----------------------------------------------------------------------------------


def test_a_cancelled_move_leaves_all_as_it_was_and_drops_what_was_read_for_it(control: Control) -> None:
    settle(control)
    moves, move = SqlMoves(control.engine), start(control)
    read(control, move, "users", rows(SIDE))
    assert moves.cancel(move.id, actor="test").state is MoveState.CANCELLED
    after = routing(control)
    assert (after.data_sources, after.moving) == ({ANN: MAIN}, {})
    assert drops(control, SIDE) == [("users", {"customers": [ANN], "epoch": after.version})]
    assert not moves.flip(move.id)
    assert refusal(lambda: moves.cancel(move.id, actor="test")) == Refusal.MOVE_ENDED


def test_a_cancelled_move_gives_back_the_binding_that_was_inherited(control: Control) -> None:
    tree = bodies(
        customers__top={"name": "Top", "data_sources": {"shop": "main"}},
        customers__child={"name": "Child", "parent": "top"},
    )
    control.apply(USERS, PURCHASES, bodies=tree)
    settle(control, "top", "child")
    move = start(control, "child")
    SqlMoves(control.engine).cancel(move.id, actor="test")
    assert control.count("binding", "data_source_id = 'main'") == 1
    assert routing(control, "child").data_sources == {"child": MAIN}


# --- refused ------------------------------------------------------------------------------------


def test_what_may_not_be_is_refused_and_changes_nothing(control: Control) -> None:
    more = bodies(
        schemas__help={"name": "Help"},
        data_sources__other=BODIES["data_sources", "side"] | {"schema": "help"},
        data_sources__alone=BODIES["data_sources", "side"] | {"isolation": "dedicated"},
        customers__bob={"name": "Bob", "data_sources": {"shop": "alone"}},
    )
    control.apply(USERS, PURCHASES, bodies=more)
    settle(control)
    version = control.routes.version()
    expected = {
        "other": Refusal.DATA_SOURCE_UNFIT,
        "alone": Refusal.DATA_SOURCE_DEDICATED,
        "nowhere": Refusal.NOT_FOUND,
        "main": Refusal.DATA_SOURCE_CONFLICT,
    }
    for name, code in expected.items():
        assert refusal(lambda name=name: start(control, to=DataSourceId(name))) == code
    control.write("UPDATE data_source SET state = 'draining' WHERE id = 'side'")
    assert refusal(lambda: start(control)) == Refusal.DATA_SOURCE_UNAVAILABLE
    assert control.routes.version() == version
    assert control.count("move") == 0


def test_one_move_at_a_time(control: Control) -> None:
    third = bodies(data_sources__third=BODIES["data_sources", "side"])
    control.apply(USERS, PURCHASES, bodies=third)
    settle(control)
    start(control)
    assert refusal(lambda: start(control, to=DataSourceId("third"))) == Refusal.MOVE_UNDER_WAY


def test_nobody_with_records_enters_or_leaves_a_move_that_is_under_way(control: Control) -> None:
    """Its rows would not be read for it, or stay in the new data source for ever."""
    main = {"data_sources": {"shop": "main"}}
    files = {
        "customers__top": {"name": "Top"} | main,
        "customers__other": {"name": "Other"} | main,
        "customers__child": {"name": "Child", "parent": "top"},
        "customers__guest": {"name": "Guest", "parent": "other"},
    }
    control.apply(USERS, PURCHASES, bodies=bodies(**files))
    settle(control, "top", "other", "child", "guest")
    start(control, "top")
    leaves = {"customers__child": {"name": "Child", "parent": "other"}}
    enters = {"customers__guest": {"name": "Guest", "parent": "top"}}
    for change in (leaves, enters):
        with pytest.raises(ConfigurationError, match="enter or leave a move"):
            control.apply(USERS, PURCHASES, bodies=bodies(**files | change))
    made_below = {"customers__new": {"name": "New", "parent": "top"}}
    control.apply(USERS, PURCHASES, bodies=bodies(**files | made_below))
    assert routing(control, "new").moving == {"new": SIDE}


def test_a_customer_of_the_api_does_not_enter_a_move_either(control: Control) -> None:
    settle(control, "top", "other")
    customers = SqlCustomers(control.engine)
    customers.create("production", NewCustomer(provided_id="guest", parent="provided:other"), actor="test")
    settle(control, "guest")
    start(control, "top")
    below = CustomerChange(parent="provided:top")
    with pytest.raises(RefusedError) as refused:
        customers.update("production", "provided:guest", below, actor="test")
    assert refused.value.code == Refusal.MOVE_UNDER_WAY


def test_no_data_source_gets_two_customers_of_one_name(control: Control) -> None:
    two_groups = bodies(
        visibility_groups__testing={"name": "Testing"},
        data_sources__main=BODIES["data_sources", "main"]
        | {"visibility_groups": ["production", "testing"], "default_for": ["production"]},
        data_sources__side=BODIES["data_sources", "side"]
        | {"visibility_groups": ["production", "testing"], "default_for": ["testing"]},
    )
    control.apply(USERS, PURCHASES, bodies=two_groups)
    settle(control)  # production's ann, in main
    theirs = routing(control, group="testing")
    claimed = control.claimed()
    control.append(claimed, rows(SIDE), newcomers=tuple(theirs.newcomers.values()))
    control.release(claimed)
    assert refusal(lambda: _start_of(control, "testing", MAIN)) == Refusal.DATA_SOURCE_CONFLICT
    assert refusal(lambda: _start_of(control, "production", SIDE)) == Refusal.DATA_SOURCE_CONFLICT


def _start_of(control: Control, group: str, to: DataSourceId) -> Move:
    with control.engine.connect() as connection:
        query = sa.text("SELECT id FROM customer WHERE visibility_group = :group AND provided_id = 'ann'")
        customer_id = str(connection.execute(query, {"group": group}).scalar_one())
    return SqlMoves(control.engine).start(customer_id, "shop", to, actor="test")


def test_rows_of_a_namesake_of_another_group_are_held(control: Control) -> None:
    both = bodies(
        visibility_groups__testing={"name": "Testing"},
        data_sources__main=BODIES["data_sources", "main"]
        | {"visibility_groups": ["production", "testing"], "default_for": ["production", "testing"]},
        data_sources__side=BODIES["data_sources", "side"] | {"visibility_groups": ["production"]},
    )
    control.apply(USERS, PURCHASES, bodies=both)
    settle(control)
    theirs = routing(control, group="testing")
    assert (theirs.data_sources, theirs.newcomers) == ({}, {})
    assert "of another visibility group" in theirs.refused[ANN]
    assert routing(control).data_sources == {ANN: MAIN}
