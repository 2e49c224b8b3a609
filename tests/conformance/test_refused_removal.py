"""A data source that refuses to remove what a reconciliation found gone stops nobody: what can be removed is,
and the rest is set aside with its reason."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from headrace.definition.loader import load
from headrace.domain import payload
from headrace.domain.vocabulary import BatchKind, ModelId, RunId, SourceId
from headrace.errors import StoreUnavailableError
from headrace.ports import JournalEntry, NewBatch, PollOutcome
from headrace.steps.chunk import keys_of
from headrace.steps.merge_report import MergeState
from tests.conformance.refusing import Shop, shop_at

USERS = 40


@pytest.fixture
def shop(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Users 1 to 40 are records."""
    monkeypatch.setenv("SHOP", str(tmp_path))
    monkeypatch.setenv("SHOP_STORE", store_url)
    with shop_at(tmp_path, store_url) as shop:
        shop.users(*["Ann"] * USERS)
        shop.settle()
        yield shop


def schedule(tmp_path: Path, shop: Shop, **changes: Any) -> None:
    """Of the users; a null takes the key out."""
    file = tmp_path / "config" / "sources" / "users.json"
    body = json.loads(file.read_text())
    changed = body["schedule"] | changes
    body["schedule"] = {name: value for name, value in changed.items() if value is not None}
    file.write_text(json.dumps(body))
    assert not shop.app.apply(load(tmp_path / "config", dict(os.environ))).failed


def reconcile(shop: Shop, source: str = "users", *, full: bool = False, confirm: bool = False) -> None:
    """It is read, and so is what was asked for meanwhile; all of it is merged."""
    shop.app.commands.request_reconcile(source, full=full, confirm=confirm)
    for _ in range(2):
        shop.settle()


def gone(shop: Shop, *ids: int) -> None:
    for id_ in ids:
        shop.delete("users", id_)


def kept(shop: Shop) -> list[int]:
    return sorted(shop.names())


def requests(shop: Shop) -> int:
    feeds = [feed.feed_id for feed in shop.app.status.feed_status()]
    return sum(len(shop.app.feeds.key_requests(feed, limit=9_999)) for feed in feeds)


def test_only_the_records_that_may_not_be_removed_stay_and_the_feed_goes_on(shop: Shop) -> None:
    shop.refuse_deletes(1, 3)
    gone(shop, 1, 2, 3)
    shop.user(4, "Bo")
    reconcile(shop)
    assert kept(shop) == [1, 3, *range(4, USERS + 1)]
    assert shop.names()[4] == "Bo"
    assert shop.rejected_keys() == [1, 3]
    assert {json.loads(row.raw)["_deleted"] for row in shop.rejected()} == {"true"}
    told = "refuse" if shop.is_sqlite else "notes_customer_user_id_fkey"
    assert all(told in row.reason for row in shop.rejected())
    shop.allow()
    shop.replay()
    assert (kept(shop), shop.rejected()) == (list(range(4, USERS + 1)), [])


def test_a_data_source_that_lets_nothing_go_sets_every_removal_aside(shop: Shop) -> None:
    shop.refuse_deletes()
    gone(shop, *range(1, 31))
    shop.user(31, "Bo")
    reconcile(shop)
    assert shop.rejected_keys() == list(range(1, 31))
    assert (len(kept(shop)), shop.names()[31]) == (USERS, "Bo")


def test_staged_rows_whose_removal_a_record_refuses_are_set_aside(shop: Shop) -> None:
    for id_, buyer in enumerate([1, 1, 2, 3], start=1):
        shop.purchase(id_, buyer, amount=10)
    shop.settle()
    shop.refuse("total", "total = 0")
    shop.delete("purchases", 1)
    shop.delete("purchases", 3)
    reconcile(shop, "purchases")
    assert shop.rejected_keys() == [3]
    assert {id_: total for id_, total in shop.totals().items() if total} == {1: 10, 2: 10, 3: 10}


def test_what_the_breaker_holds_is_not_asked_for_until_it_is_confirmed(shop: Shop) -> None:
    shop.refuse_deletes(5)
    gone(shop, *range(1, USERS + 1))
    shop.app.commands.request_reconcile("users", full=False, confirm=False)
    assert shop.settle().held == USERS
    assert (requests(shop), kept(shop)) == (0, list(range(1, USERS + 1)))
    reconcile(shop, confirm=True)
    assert (kept(shop), shop.rejected_keys()) == ([5], [5])


def test_more_than_a_few_that_are_refused_at_once_are_held(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.stores.gone.SPARED_ROWS", 5)
    shop.refuse_deletes(1)
    gone(shop, *range(1, 7))
    shop.user(7, "Bo")
    reconcile(shop)
    (target,) = shop.app.targets()
    assert sum(shop.app.stores.open(target[0]).held_rows().values()) == 6
    assert (requests(shop), len(kept(shop)), shop.names()[7]) == (0, USERS, "Bo")
    shop.allow()
    reconcile(shop, confirm=True)
    assert kept(shop) == list(range(7, USERS + 1))


@pytest.mark.parametrize("ends", ["request_keys", "mark_merged"])
def test_a_worker_that_dies_before_or_after_its_commit_leaves_the_same(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Between the request and the commit, and between the commit and what control is told of it."""
    shop.refuse_deletes(1)
    gone(shop, 1, 2)
    shop.app.commands.request_reconcile("users", full=False, confirm=False)
    shop.poll()
    ask, died = getattr(shop.app.journal, ends), []

    def dies(*arguments: Any, **named: Any) -> Any:
        if ends == "request_keys":
            ask(*arguments, **named)
        died.append(ends)
        raise StoreUnavailableError("gone")

    with monkeypatch.context() as once:
        once.setattr(shop.app.journal, ends, dies)
        with pytest.raises(StoreUnavailableError):
            shop.merge()
    assert died
    for _ in range(2):
        shop.settle()
    assert (kept(shop), shop.rejected_keys()) == ([1, *range(3, USERS + 1)], [1])
    assert shop.rejected()[0].attempts <= 2


def test_where_deletes_are_ignored_nothing_is_removed_or_asked_for(shop: Shop, tmp_path: Path) -> None:
    schedule(tmp_path, shop, deletes="ignore")
    shop.refuse_deletes()
    gone(shop, 1, 2)
    reconcile(shop)
    assert (kept(shop), shop.rejected(), requests(shop)) == (list(range(1, USERS + 1)), [], 0)


def test_a_source_without_a_cursor_is_not_read_again_and_again_for_a_refused_removal(
    shop: Shop, tmp_path: Path
) -> None:
    schedule(tmp_path, shop, cursor=None, clock=None)
    shop.settle()
    shop.refuse_deletes(1)
    gone(shop, 1, 2)
    for _ in range(3):
        shop.settle()
    assert (kept(shop), shop.rejected_keys()) == ([1, *range(3, USERS + 1)], [1])
    before = ends(shop)
    shop.settle()
    assert (ends(shop), requests(shop)) == (before, 0)


def ends(shop: Shop) -> list[int]:
    (target,) = shop.app.targets()
    return [log.seq for log in shop.app.journal.logs(*target)]


def damage_total(shop: Shop) -> None:
    shop.store("UPDATE users SET total = 7 WHERE id = 1")


@pytest.mark.parametrize("also", [None, Shop.refuse_deletes])
def test_a_refused_repair_stops_nobody(shop: Shop, also: Callable[[Shop], None] | None) -> None:
    shop.purchase(1, buyer=1, amount=10)
    shop.purchase(2, buyer=2, amount=10)
    shop.settle()
    damage_total(shop)
    shop.refuse("total", "total = 10")
    if also is not None:
        also(shop)
    shop.purchase(3, buyer=3, amount=5)
    reconcile(shop, "purchases", full=True)
    assert (shop.totals()[1], shop.totals()[3]) == (7, 5)
    shop.allow()
    reconcile(shop, "purchases", full=True)
    assert shop.totals()[1] == 10


def journal_drop(shop: Shop, customer: str) -> None:
    """The customer of the users' feed leaves the data source."""
    ((target, _),) = shop.app.targets()
    feed = next(f.feed_id for f in shop.app.status.feed_status() if f.source_id == "users")
    claimed = shop.app.feeds.claim(feed, lease_s=60)
    assert claimed is not None
    source = shop.app.catalogue().models[ModelId("users")].source(SourceId("users"))
    drop = NewBatch(
        data_source_id=target,
        kind=BatchKind.DROP,
        rows=0,
        payload=payload.encode(keys_of(source, None)),
        meta={"customers": [customer], "epoch": 1},
    )
    run = RunId(str(uuid4()))
    entry = JournalEntry(run_id=run, trigger="test", state=claimed.state, batches=[drop])
    shop.app.feeds.append(claimed.lease, entry, lease_s=60)
    shop.app.feeds.release(claimed.lease, PollOutcome(run_id=run, succeeded=True))


def test_a_refused_drop_waits_with_its_reason_and_removes_nothing(shop: Shop) -> None:
    """A customer's rows that must not stay are not passed over; other feeds go on."""
    shop.refuse_deletes(3)
    journal_drop(shop, "acme")
    report = shop.merge()
    assert (report.state, len(kept(shop))) == (MergeState.BLOCKED, USERS)
    told = {f.source_id: f.merge_error for f in shop.app.status.feed_status() if f.backing_off}
    assert told.keys() == {"users"}
    assert ("refuse" if shop.is_sqlite else "notes_customer_user_id_fkey") in str(told["users"])
    shop.purchase(1, buyer=1, amount=10)
    shop.poll()
    shop.merge()
    assert shop.totals()[1] == 10
