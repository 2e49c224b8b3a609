"""A first load of a whole shop, merged page by page as it is read, and what a crash leaves of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import wiring
from headrace.control.journal import SqlJournal
from headrace.domain.vocabulary import DataSourceId, FeedId, ModelId
from headrace.errors import ControlUnavailableError
from headrace.stores.merge import SqlMerge
from tests.conformance.refusing import Shop, settings, shop_at

PEOPLE = 9


class CrashError(Exception):
    """The process dies here."""


class MergesAtOnce:
    """Implements `Nudge`: each page is merged before the next is read."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.pending: list[int] = []

    def poll(self, feed_id: FeedId) -> None:
        pass

    def reconcile(self, feed_id: FeedId, *, full: bool) -> None:
        pass

    def merge(self, data_source_id: DataSourceId, model: ModelId) -> None:
        self._shop.app.merge(data_source_id, model)
        self.pending.append(sum(feed.pending_batches for feed in self._shop.app.status.feed_status()))


@pytest.fixture
def shop(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setattr("headrace.stores.loading.LEAST_ROWS", 1)
    monkeypatch.setenv("HEADRACE_PAGE_ROWS", "2")
    monkeypatch.setenv("SHOP", str(tmp_path))
    monkeypatch.setenv("SHOP_STORE", store_url)
    with shop_at(tmp_path, store_url) as opened:
        opened.users(*(f"user {i}" for i in range(1, PEOPLE + 1)))
        for id_ in range(1, PEOPLE + 1):
            opened.purchase(id_, 1 + id_ % 3, id_)
        yield opened


def restart(shop: Shop, directory: Path) -> None:
    """Another process goes on."""
    shop.app.close()
    shop.app = wiring.build(settings(directory), process="test")


def is_whole(shop: Shop) -> bool:
    totals = dict.fromkeys(range(1, PEOPLE + 1), 0)
    for id_ in range(1, PEOPLE + 1):
        totals[1 + id_ % 3] += id_
    known = shop.names() == {id_: f"user {id_}" for id_ in range(1, PEOPLE + 1)}
    return known and shop.totals() == totals and states(shop) == {"ready"} and has_keys(shop)


def states(shop: Shop) -> set[str]:
    return {state for (state,) in shop.store("SELECT state FROM _contract")}


def has_keys(shop: Shop) -> bool:
    if shop.is_sqlite:
        return True
    ((keys,),) = shop.store(
        "SELECT count(*) FROM pg_constraint WHERE contype = 'p'"
        " AND conrelid IN ('users'::regclass, '_staged_purchases'::regclass)"
    )
    return bool(keys == 2)


def test_a_load_goes_on_from_page_to_page_and_ends_with_the_stream(shop: Shop) -> None:
    shop.app.nudge = nudge = MergesAtOnce(shop)
    shop.poll()
    assert is_whole(shop)
    assert max(nudge.pending) == (0 if shop.is_sqlite else 1)
    assert nudge.pending[-1] == 0


def test_a_load_that_is_merged_afterwards_ends_with_its_log(shop: Shop) -> None:
    shop.poll()
    shop.merge()
    assert is_whole(shop)


def test_a_load_that_its_reader_left_is_ended_by_an_apply_and_gone_on_with(
    shop: Shop, tmp_path: Path
) -> None:
    shop.app.nudge = MergesAtOnce(shop)
    shop.app.stopping.set()  # after the page that it is at
    for feed in shop.app.commands.feeds():
        shop.app.poll(feed)
    restart(shop, tmp_path)
    shop.app.apply(shop.app.definitions())
    assert states(shop) == {"ready"}
    assert has_keys(shop)
    shop.settle()
    assert is_whole(shop)


@pytest.mark.parametrize("place", ["before the commit", "before control is told"])
@pytest.mark.parametrize("at", range(1, 9))
def test_a_crash_at_any_merge_is_repaired_by_the_next(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, at: int
) -> None:
    owner: Any = SqlMerge if place == "before the commit" else SqlJournal
    name = "mark_applied" if place == "before the commit" else "mark_merged"
    original, calls = getattr(owner, name), 0

    def deadly(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise CrashError
        return original(*args, **options)

    monkeypatch.setattr(owner, name, deadly)
    shop.app.nudge = MergesAtOnce(shop)
    with contextlib.suppress(CrashError):
        shop.poll()
    restart(shop, tmp_path)
    shop.settle()
    assert is_whole(shop)


def test_a_load_whose_end_control_never_heard_of_is_ended_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.poll()

    def gone(*_: Any, **__: Any) -> None:
        raise ControlUnavailableError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(SqlJournal, "mark_merged", gone)
        with contextlib.suppress(ControlUnavailableError):
            shop.merge()
    shop.settle()
    assert is_whole(shop)


def test_a_row_that_the_data_source_refuses_is_set_aside_from_a_load(shop: Shop) -> None:
    shop.refuse("name", "name = 'user 4'")
    shop.app.nudge = MergesAtOnce(shop)
    shop.poll()
    shop.merge()
    assert sorted(shop.names()) == [1, 2, 3, 5, 6, 7, 8, 9]
    assert shop.rejected_keys() == [4]
    assert states(shop) == {"ready"}
