"""Interleavings that would lose, double or leave stale a row, each played once by real databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.ports import NullCursors
from tests.integration.world import ACCOUNTS, USERS, Seen, prepared, world_of

T0, T1, T2, T3 = (f"2024-01-01 00:00:0{n}.000" for n in range(4))


@pytest.fixture
def world(world: Seen) -> Seen:
    world.write("DELETE FROM users", ())
    return world


def is_idle(world: Seen, source_id: str) -> bool:
    before = world.batches(source_id)
    world.poll(source_id)
    return world.batches(source_id) == before


# --- what is read again -----------------------------------------------------------------------------


@pytest.mark.parametrize("ties", range(1, 8))
def test_an_idle_feed_journals_nothing_however_its_ties_are_cut_into_pages(world: Seen, ties: int) -> None:
    world.user(50, "before", T0)
    for id_ in range(1, ties + 1):
        world.user(id_, "same", T1)
    world.poll(USERS)
    assert is_idle(world, USERS)


@pytest.mark.parametrize("before", [2, 3, 4])
def test_ties_that_begin_with_a_page_are_known_at_once(world: Seen, before: int) -> None:
    for id_ in range(1, before + 1):
        world.user(id_, "before", T0)
    for id_ in (10, 11):
        world.user(id_, "after", T1)
    world.poll(USERS)
    assert is_idle(world, USERS)


@pytest.mark.parametrize("changed", range(1, 6))
def test_a_change_in_any_page_of_the_ties_is_journalled(world: Seen, changed: int) -> None:
    for id_ in range(1, 6):
        world.user(id_, "old", T1)
    world.poll(USERS)
    world.user(changed, "new", T1)
    world.poll(USERS)
    world.merge()
    assert world.user_names()["e", changed] == "new"
    assert is_idle(world, USERS)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_row_after_known_ties_is_journalled_without_them(world: Seen, size: int) -> None:
    for id_ in range(1, size + 1):
        world.user(id_, "old", T1)
    world.poll(USERS)
    world.user(20, "new", T2)
    assert world.poll(USERS).rows_read == 1
    world.merge()
    assert world.user_names()["e", 20] == "new"


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_ties_of_which_some_went_away_are_followed(world: Seen, size: int) -> None:
    for id_ in range(1, size + 1):
        world.user(id_, "old", T1)
    world.poll(USERS)
    world.write("DELETE FROM users WHERE id = 1", ())
    world.poll(USERS)
    world.user(1, "old", T1)
    before = world.batches(USERS)
    world.poll(USERS)
    assert world.batches(USERS) > before
    assert is_idle(world, USERS)


def test_a_row_that_a_reconciliation_missed_and_that_came_back_as_it_was_is_there(world: Seen) -> None:
    world.user(1, "Ann", T1)
    world.user(2, "Bo", T1)
    world.poll(USERS)
    world.merge()
    world.app.commands.request_reconcile(USERS, full=False, confirm=False)

    def deleted_before_the_chunk(name: str, args: tuple[Any, ...]) -> None:
        if name == "append" and args[1].state.reconciliation and not args[1].batches:
            world.write("DELETE FROM users WHERE id = 1", ())

    world.watch(deleted_before_the_chunk)
    world.poll(USERS)
    world.user(1, "Ann", T1)
    world.poll(USERS)
    world.merge()
    assert world.user_names()["e", 1] == "Ann"


# --- keys that are asked for ------------------------------------------------------------------------


def test_a_deleted_key_that_comes_back_as_it_was_is_journalled_again(world: Seen) -> None:
    world.user(1, "Ann", T1)
    world.user(2, "Bo", T1)
    world.poll(USERS)
    feed_id = world.feed(USERS)
    asked: list[bool] = []

    def gone_when_asked(name: str, _args: object) -> None:
        if name == "claim":
            world.write("DELETE FROM users WHERE id = 1", ())
        if name == "append" and not asked:
            asked.append(True)
            world.user(1, "Ann", T1)

    world.app.journal.request_keys(feed_id, [("1",)])
    world.watch(gone_when_asked)
    world.poll(USERS)
    world.merge()
    assert world.user_names()["e", 1] == "Ann"


def test_a_key_asked_for_in_the_sources_own_text_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = prepared(
        tmp_path / "template",
        {
            "sources/users.json": {
                "properties": {
                    "id": {"type": "decimal", "column": "id"},
                    "account_id": {"type": "integer", "column": "account_id"},
                    "name": {"type": "string", "column": "name"},
                }
            }
        },
    )
    with world_of(template, tmp_path / "world", monkeypatch) as world:
        world.user(1, "Ann", T1)
        world.poll(USERS)
        world.app.journal.request_keys(world.feed(USERS), [("1.0",), ("no number",), ("1", "2")])
        world.poll(USERS)
        world.merge()
        assert world.user_names() == {("e", "1"): "Ann"}
        assert world.app.feeds.key_requests(world.feed(USERS), limit=9) == ()


def test_a_key_that_is_not_found_is_a_delete_unless_deletes_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignoring = {"schedule": {"cursor": "updated_at", "clock": "database", "deletes": "ignore"}}
    for name, changes, left in (
        ("removes", {}, {}),
        ("ignores", {"sources/users.json": ignoring}, {("e", 1): "Ann"}),
    ):
        template = prepared(tmp_path / f"{name}-template", changes)
        with world_of(template, tmp_path / name, monkeypatch) as world:
            world.user(1, "Ann", T1)
            world.poll(USERS)
            world.write("DELETE FROM users WHERE id = 1", ())
            world.app.journal.request_keys(world.feed(USERS), [("1",)])
            world.poll(USERS)
            world.merge()
            assert world.user_names() == left


def test_rows_that_are_held_are_no_deletes_when_their_keys_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = prepared(tmp_path / "template", {"sources/users.json": {"unknown_customers": "hold"}})
    with world_of(template, tmp_path / "world", monkeypatch) as world:
        world.user(1, "Ann", T1, tenant="w")
        world.poll(USERS)
        world.merge()
        world.user(1, "Ann", T1, tenant="nobody")
        world.app.journal.request_keys(world.feed(USERS), [("1",)])
        world.poll(USERS)
        world.merge()
        assert world.user_names() == {("w", 1): "Ann"}
        open_rows = "SELECT key, code FROM rejected_row WHERE state = 'open' AND key = '[\"1\"]'"
        assert world.asked(open_rows) == [('["1"]', "customer_refused")]
        world.write("DELETE FROM users WHERE id = 1", ())
        world.app.journal.request_keys(world.feed(USERS), [("1",)])
        world.poll(USERS)
        assert world.asked(open_rows) == []


def test_a_row_that_is_mended_while_it_is_polled_closes_its_rejection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = prepared(tmp_path / "template", {"sources/users.json": {"unknown_customers": "hold"}})
    with world_of(template, tmp_path / "world", monkeypatch) as world:
        world.write("PRAGMA journal_mode=WAL", ())  # or nobody writes while it is read
        world.user(1, "Ann", None, tenant="nobody")
        world.user(2, "Bo", T1, tenant="nobody")
        mended: list[bool] = []

        def mend(name: str, args: tuple[Any, ...]) -> None:
            if name == "blocked_data_sources" and not mended:
                mended.append(True)
                world.user(2, "Bo", None, tenant="w")

        world.watch(mend)
        world.poll(USERS)
        assert mended
        assert world.asked("SELECT key FROM rejected_row WHERE state = 'open' AND key = '[\"2\"]'") == []


# --- lanes ------------------------------------------------------------------------------------------


def test_a_lane_whose_reader_died_before_its_digest_is_read_again(world: Seen) -> None:
    world.user(1, "Ann", None)
    world.poll(USERS)
    world.user(1, "Bo", None)
    world.poll_dying(USERS, lambda name, args: name == "append" and bool(args[1].batches))
    world.user(1, "Ann", None)
    world.poll(USERS)
    world.merge()
    assert world.user_names() == {("e", 1): "Ann"}


def test_a_row_that_leaves_a_lane_and_returns_as_it_was_is_journalled(world: Seen) -> None:
    world.user(1, "Ann", None)
    world.poll(USERS)
    world.user(1, "Bo", T1)
    world.poll_dying(USERS, lambda name, args: name == "append" and bool(args[1].batches))
    world.user(1, "Ann", None)
    world.poll(USERS)
    world.merge()
    assert world.user_names() == {("e", 1): "Ann"}
    world.poll(USERS)
    assert is_idle(world, USERS)


def test_ties_and_a_lane_do_not_wake_each_other(world: Seen) -> None:
    for id_ in (1, 2):
        world.user(id_, "tie", T1)
        world.user(10 + id_, "undated", None)
    world.poll(USERS)
    assert is_idle(world, USERS)
    world.user(12, "changed", None)
    world.poll(USERS)
    assert is_idle(world, USERS)


def between_ties_and_lane(world: Seen, change: Callable[[], None]) -> None:
    """Poll; the change happens once, after the ties were journalled and before the lane is read."""
    reader_pool, left = world.app.readers, [change]
    lend = reader_pool.lend

    class Lent:
        def __init__(self, reader: Any) -> None:
            self._reader = reader

        def __getattr__(self, name: str) -> Any:
            return getattr(self._reader, name)

        def read(self, plan: Any, selection: Any) -> Any:
            if isinstance(selection, NullCursors) and left:
                left.pop()()
            return self._reader.read(plan, selection)

    @contextmanager
    def lend_watched(app_id: Any) -> Iterator[Any]:
        with lend(app_id) as reader:
            yield Lent(reader)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader_pool, "lend", lend_watched)
        world.poll(USERS)
    assert not left


def test_a_tie_that_moves_into_the_lane_within_a_poll_and_back_as_it_was_is_journalled(world: Seen) -> None:
    world.user(1, "tie", T1)
    world.user(2, "undated", None)
    between_ties_and_lane(world, lambda: world.user(1, "moved", None))
    world.user(1, "tie", T1)
    world.poll(USERS)
    world.merge()
    assert world.user_names()["e", 1] == "tie"


def test_a_row_that_moves_twice_around_an_unchanged_lane_is_journalled(world: Seen) -> None:
    """The lane is as it was last, and yet its row writes over what the ties were journalled with."""
    world.user(1, "undated", None)
    world.poll(USERS)
    world.user(1, "tie", T1)
    between_ties_and_lane(world, lambda: world.user(1, "undated", None))
    world.user(1, "tie", T1)
    world.poll(USERS)
    world.merge()
    assert world.user_names()["e", 1] == "tie"


def test_a_lane_of_many_rows_is_read_once_for_each_reconciliation(world: Seen) -> None:
    fetch = world.app._fetch
    world.app._fetch = replace(fetch, limits=replace(fetch.limits, lane_rows=3))
    for id_ in range(1, 31):
        world.user(id_, "null", None)
    assert world.poll(USERS).rows_read == 30
    assert world.poll(USERS).rows_read == 0
    report = world.reconcile(USERS)  # by keys, in chunks of 12
    assert report.rows_read == 30 + 30


# --- reconciliation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", range(6))
def test_a_source_without_a_cursor_is_journalled_only_when_it_changed(world: Seen, rows: int) -> None:
    world.write("DELETE FROM accounts", ())
    for id_ in range(rows):
        world.account(id_, "a")
    world.poll(ACCOUNTS)
    assert is_idle(world, ACCOUNTS)
    world.account(9, "new")
    assert not is_idle(world, ACCOUNTS)
    assert is_idle(world, ACCOUNTS)


def test_polls_and_chunks_that_are_cut_differently_know_the_same_source(world: Seen) -> None:
    for id_ in range(20):
        world.account(id_, "long " * id_ * id_)
    fetch = world.app._fetch
    world.app._fetch = replace(fetch, limits=replace(fetch.limits, page_bytes=300))
    world.poll(ACCOUNTS)
    assert is_idle(world, ACCOUNTS)


@pytest.mark.parametrize("died_at", range(1, 5))
def test_a_reconciliation_goes_on_where_its_reader_died(world: Seen, died_at: int) -> None:
    for id_ in range(1, 61):
        world.user(id_, "there", T1)
    world.poll(USERS)
    world.merge()
    world.write("DELETE FROM users WHERE id IN (7, 20)", ())
    world.app.commands.request_reconcile(USERS, full=False, confirm=False)
    keys: list[int] = []

    def dies(name: str, args: tuple[Any, ...]) -> bool:
        if name == "append" and any(b.kind == "keys" for b in args[1].batches):
            keys.append(1)
        return len(keys) == died_at

    if died_at <= 3:
        world.poll_dying(USERS, dies)
    world.poll(USERS)
    world.merge()
    assert world.batches(USERS, "keys") == 3  # of 24 rows at most, none twice
    assert sorted(id_ for _, id_ in world.user_names()) == [i for i in range(1, 61) if i not in {7, 20}]


def test_a_reconciliation_that_is_asked_for_during_another_begins_after_it(world: Seen) -> None:
    for id_ in range(1, 20):
        world.user(id_, "there", T1)
    world.poll(USERS)
    world.merge()
    world.app.commands.request_reconcile(USERS, full=False, confirm=False)
    asked: list[bool] = []

    def ask_again(name: str, args: tuple[Any, ...]) -> None:
        if name == "append" and not asked and any(b.kind == "keys" for b in args[1].batches):
            asked.append(True)
            world.write("DELETE FROM users WHERE id = 1", ())
            world.app.commands.request_reconcile(USERS, full=False, confirm=False)

    world.watch(ask_again)
    assert world.poll(USERS).again
    world.poll(USERS)
    world.merge()
    assert ("e", 1) not in world.user_names()
    assert not world.app.feeds.is_asked_again(world.feed(USERS))


def test_keys_that_fit_no_type_do_not_bound_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = prepared(
        tmp_path / "template",
        {
            "sources/accounts.json": {
                "key": ["name"],
                "properties": {"account_name": {"type": "string", "column": "name"}},
            }
        },
    )
    with world_of(template, tmp_path / "world", monkeypatch) as world:
        world.write("DELETE FROM accounts", ())
        for id_, name in enumerate(["a", "b\0", "c", "d\0", "e"]):
            world.account(id_, name)
        report = world.poll(ACCOUNTS)
        assert report.error is None
        assert len(world.asked("SELECT 1 FROM rejected_row WHERE state = 'open'")) == 2
        assert is_idle(world, ACCOUNTS)
