"""What ends a poll before its source's end, and what a reconciliation does in the feed's log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import LeaseLostError
from headrace.ports import Routing
from headrace.steps import feed_writer
from headrace.steps.page import cut
from tests.integration.world import ACCOUNTS, USERS, Seen, prepared, world_of
from tests.properties.history import NOW

T1 = "2024-01-01 00:00:01.000"
STAYING = 2
"""Rows of each table that each data source has from the start (tests/properties/history.py)."""
KEYED_BY_DECIMALS = {
    "id": {"type": "decimal", "column": "id"},
    "account_id": {"type": "integer", "column": "account_id"},
    "name": {"type": "string", "column": "name"},
}


def limit(world: Seen, **limits: Any) -> None:
    fetch = world.app._fetch
    world.app._fetch = replace(fetch, limits=replace(fetch.limits, **limits))


# --- routing ----------------------------------------------------------------------------------------


class Changing:
    """Implements `Routes`: so many answers are out of date by the time they are journalled."""

    def __init__(self, routes: Any, times: int) -> None:
        self._routes, self._times = routes, times

    def resolve(self, **wanted: Any) -> Routing:
        routing: Routing = self._routes.resolve(**wanted)
        self._times -= 1
        return replace(routing, version=routing.version - 1) if self._times >= 0 else routing


def test_a_page_is_resolved_again_when_routing_changed_meanwhile(world: Seen) -> None:
    world.user(1, "Ann", T1)
    world.app._fetch = replace(world.app._fetch, routes=Changing(world.app.routes, 3))
    world.reconcile(USERS, full=True)
    world.merge()
    assert world.user_names()["e", 1] == "Ann"


def test_a_page_is_not_cut_again_when_routing_changed_for_others(
    world: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts: list[Any] = []
    monkeypatch.setattr(feed_writer, "cut", lambda rows, *more: cuts.append(rows) or cut(rows, *more))
    world.user(1, "Ann", T1)
    world.app._fetch = replace(world.app._fetch, routes=Changing(world.app.routes, 30))
    world.poll(USERS)
    world.merge()
    assert world.user_names()["e", 1] == "Ann"
    assert len(cuts) == len({id(rows) for rows in cuts})  # each page once


def test_a_page_is_not_journalled_while_routing_never_rests(world: Seen) -> None:
    world.user(1, "Ann", None)
    before = world.batches(USERS)
    world.app._fetch = replace(world.app._fetch, routes=Changing(world.app.routes, 1000))
    report = world.app.poll(world.feed(USERS))
    assert (report.complete, report.retryable, world.batches(USERS)) == (False, True, before)


# --- what ends a poll -------------------------------------------------------------------------------


def test_a_feed_waits_while_all_that_it_writes_to_is_full_and_goes_on_where_it_was(world: Seen) -> None:
    world.settle()
    limit(world, max_batches=1)
    for id_ in range(1, 10):
        world.user(id_, "new", f"2099-01-01 00:00:0{id_}.000", "w" if id_ % 2 else "e")
    world.write(f"UPDATE users SET updated_at = {NOW} WHERE updated_at > '2098'", ())
    waited = 0
    while not world.poll(USERS).complete:
        waited += 1
        assert world.pending()
        world.merge()
    world.merge()
    assert waited
    assert len(world.user_names()) == 9


def test_a_data_source_that_is_full_does_not_stop_the_others(world: Seen) -> None:
    world.settle()
    for id_ in range(1, 10):
        world.user(id_, "east", None)
    world.poll(USERS)
    limit(world, max_batches=2)
    world.user(20, "west", None, "w")
    report = world.poll(USERS)
    assert report.complete
    west = world.app.targets()[1]
    world.app.merge(*west)
    assert world.user_names()["w", 20] == "west"


def test_a_poll_that_is_asked_to_stop_ends_after_its_page(world: Seen) -> None:
    for id_ in range(1, 10):
        world.user(id_, "null", None)
    world.watch(lambda name, _args: name == "append" and world.app.stopping.set())
    report = world.poll(USERS)
    assert (report.complete, report.again) == (False, True)
    world.restart()
    while not world.poll(USERS).complete:
        world.merge()
    world.merge()
    assert len(world.user_names()) == 9


def test_answers_to_requests_end_when_the_process_is_asked_to_stop(world: Seen) -> None:
    limit(world, key_requests=2)
    world.app.journal.request_keys(world.feed(USERS), [(str(n),) for n in range(1, 6)])
    world.watch(lambda name, _args: name == "append" and world.app.stopping.set())
    assert not world.poll(USERS).complete
    assert len(world.app.feeds.key_requests(world.feed(USERS), limit=9)) == 3
    world.restart()
    assert world.poll(USERS).complete
    assert world.app.feeds.key_requests(world.feed(USERS), limit=9) == ()


@pytest.mark.parametrize("calls", range(0, 14, 2))
def test_whoever_lost_the_lease_writes_nothing(world: Seen, calls: int) -> None:
    for id_ in range(1, 6):
        world.user(id_, "there", None if id_ % 2 else T1)
    world.taken_over(calls, world.feed(USERS))
    world.settle()
    assert len(world.user_names()) == 5
    seqs = "SELECT data_source_id, count(*) - max(seq) FROM batch WHERE feed_id = ? GROUP BY log_id"
    assert all(gap <= 0 for _, gap in world.asked(seqs, world.feed(USERS)))


def test_a_feed_that_another_worker_holds_is_left(world: Seen) -> None:
    feed_id = world.feed(USERS)
    claimed = world.app.feeds.claim(feed_id, lease_s=60)
    assert claimed is not None
    assert not world.app.poll(feed_id).held
    world.app._fetch = replace(world.app._fetch, feeds=_Taken(world.app.feeds))  # type: ignore[arg-type]
    world.expire_leases()
    report = world.app.poll(feed_id)
    assert (report.error, report.retryable) == ("taken [lease_lost]", True)


class _Taken:
    def __init__(self, feeds: Any) -> None:
        self._feeds = feeds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feeds, name)

    def append(self, *_: Any, **__: Any) -> None:
        raise LeaseLostError("taken")


def test_a_source_without_its_column_pauses_its_feed_alone(world: Seen) -> None:
    world.write("ALTER TABLE users DROP COLUMN name", ())
    world.restart()
    report = world.app.poll(world.feed(USERS))
    assert "name" in (report.error or "")
    assert world.app.feeds.is_paused(world.feed(USERS))
    assert world.poll(ACCOUNTS).complete


# --- reconciliation ---------------------------------------------------------------------------------


def test_a_restored_store_is_reconciled_alone(world: Seen) -> None:
    world.back_up("west")
    world.user(1, "east", T1)
    world.user(2, "west", T1, "w")
    world.reconcile(USERS)
    world.merge()
    world.write("DELETE FROM users WHERE id = 2", ())
    world.user(3, "west too", T1, "w")
    world.restore("west")
    assert ("w", 2) not in world.user_names()
    east = "SELECT count(*) FROM batch WHERE feed_id = ? AND data_source_id = 'east' AND kind = 'keys'"
    before = world.asked(east, world.feed(USERS))
    world.settle()
    assert world.user_names() == {("e", 1): "east", ("w", 3): "west too"}
    assert world.asked(east, world.feed(USERS)) == before


def test_what_the_breaker_held_is_removed_when_confirmed(world: Seen) -> None:
    world.settle()
    world.write("DELETE FROM users", ())
    world.reconcile(USERS)
    world.merge()
    target = world.app.targets()[0]
    assert world.app.stores.open(target[0]).held_rows() == {world.feed(USERS): STAYING}
    world.app.commands.request_reconcile(USERS, full=False, confirm=True)
    world.poll(USERS)
    world.merge()
    assert world.app.stores.open(target[0]).count(world.app.catalogue().model(target[1])) == 0


def test_keys_without_a_shared_order_are_one_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"sources/users.json": {"properties": KEYED_BY_DECIMALS}}
    with world_of(prepared(tmp_path / "template", changes), tmp_path / "world", monkeypatch) as world:
        for id_ in range(1, 41):
            world.user(id_, "there", T1)
        while not world.poll(USERS).complete:
            world.merge()
        world.settle()
        world.write("DELETE FROM users WHERE id = 7", ())
        world.app.commands.request_reconcile(USERS, full=False, confirm=False)

        def stop_at_keys(name: str, args: tuple[Any, ...]) -> None:
            if name == "append" and any(b.kind == "keys" for b in args[1].batches):
                world.app.stopping.set()

        world.watch(stop_at_keys)
        assert not world.poll(USERS).complete
        world.restart()
        while not world.poll(USERS).complete:
            world.merge()
        world.merge()
        east, model = world.app.targets()[0]
        store = world.app.stores.open(east)
        assert store.count(world.app.catalogue().model(model)) == 39 + STAYING
        opened = "SELECT count(*) FROM batch WHERE feed_id = ? AND meta LIKE '%\"opens\": true%'"
        assert world.asked(opened, world.feed(USERS))[0][0] == 4  # two beginnings, in two data sources
