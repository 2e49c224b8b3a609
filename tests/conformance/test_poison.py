"""Rows that a data source refuses are found, set aside with the reason, and nothing else waits for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace import wiring
from headrace.definition.loader import load
from headrace.domain.bisection import DEATHS
from headrace.domain.trigger import TriggerRequest
from headrace.errors import StoreUnavailableError
from headrace.steps.catalogue import Target
from headrace.steps.merge_report import MergeState
from headrace.steps.trigger import Asker
from headrace.steps.verify import ModelReport
from headrace.steps.verify_sample import Sample
from tests.conformance.killing import KILLER
from tests.conformance.refusing import Shop, settings, shop_at
from workers import verify


@pytest.fixture
def shop(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("SHOP", str(tmp_path))
    monkeypatch.setenv("SHOP_STORE", store_url)
    with shop_at(tmp_path, store_url) as shop:
        yield shop


def test_exactly_the_refused_rows_are_left_out_and_told_with_their_reason(shop: Shop) -> None:
    names = ["Ann"] * 300
    for place in (0, 130, 131, 299):
        names[place] = "Zed"
    shop.users(*names)
    shop.refuse("name", "name = 'Zed'")

    report = shop.settle()

    assert (report.rejected, report.counts.inserted) == (4, 296)
    assert set(shop.names()) == set(range(1, 301)) - {1, 131, 132, 300}
    assert shop.rejected_keys() == [1, 131, 132, 300]
    first = shop.rejected()[0]
    assert (first.source_id, first.code, first.attempts) == ("users", "refused", 1)
    assert "refuse" in first.reason
    assert json.loads(first.raw) == {"id": "1", "name": "Zed", "born_on": None, "_customer_id": "acme"}
    (run,) = shop.app.runs.runs(limit=9, source_id="users")
    assert (run.rows_journalled, run.rows_merged, run.rejected) == (300, 296, 4)
    assert [f.rejected for f in shop.app.status.feed_status()] == [0, 4]
    shop.user(5, "Bea")
    shop.settle()
    assert shop.names()[5] == "Bea"


def test_a_record_keeps_the_version_before_the_refused_one(shop: Shop) -> None:
    shop.users("Ann", "Bea")
    shop.settle()
    shop.refuse("name", "name = 'Zed'")
    shop.users("Zed", "Bo")
    shop.settle()
    assert shop.names() == {1: "Ann", 2: "Bo"}
    assert shop.rejected_keys() == [1]


def test_a_replay_fetches_the_row_as_it_is_now_and_closes_what_goes_in(shop: Shop) -> None:
    shop.users("Zed", "Zed", "Zed", "Ann")
    shop.refuse("name", "name = 'Zed'")
    shop.settle()
    shop.source.execute("UPDATE users SET name = 'Bo', updated_at = '2020-01-01' WHERE id = 2")
    shop.delete("users", 3)

    shop.replay()

    assert shop.names() == {2: "Bo", 4: "Ann"}
    assert shop.rejected_keys() == [1]
    assert shop.rejected()[0].attempts > 1
    assert shop.rejected_keys("resolved") == [2, 3]
    shop.allow()
    shop.replay()
    assert (shop.names(), shop.rejected()) == ({1: "Zed", 2: "Bo", 4: "Ann"}, [])


def test_a_rejected_row_stays_open_until_a_later_version_is_merged_not_only_read(shop: Shop) -> None:
    shop.users("Zed")
    shop.refuse("name", "name = 'Zed'")
    shop.settle()
    shop.user(1, "Ann")
    shop.poll()
    assert shop.rejected_keys() == [1]
    shop.merge()
    assert (shop.rejected(), shop.names()) == ([], {1: "Ann"})


def test_a_discarded_row_is_opened_anew_by_a_new_version(shop: Shop) -> None:
    shop.users("Zed")
    shop.refuse("name", "name = 'Zed'")
    shop.settle()
    shop.app.runs.discard(source_id="users", actor="test")
    assert shop.rejected() == []
    shop.user(1, "Zed")
    shop.settle()
    assert (shop.rejected_keys(), shop.rejected_keys("discarded")) == ([1], [1])


def test_rows_that_are_refused_only_together_lose_as_few_as_it_takes(shop: Shop) -> None:
    shop.users("Ann", "Bea")
    shop.settle()
    shop.refuse("total", "total > 100")
    for id_ in range(1, 31):
        shop.purchase(id_, buyer=1 + id_ % 2, amount=60 if id_ in {7, 23} else 1)
    shop.settle()
    assert shop.rejected_keys() == [23]
    assert shop.totals() == {1: 15, 2: 13 + 60}


def test_a_row_that_goes_in_only_with_others_is_not_rejected_for_a_third_ones_sake(shop: Shop) -> None:
    shop.users("Ann", "Bea")
    shop.settle()
    shop.refuse("total", "total < 0")
    shop.purchase(1, buyer=1, amount=-50)
    for id_ in range(2, 9):
        shop.purchase(id_, buyer=2, amount=1)
    shop.purchase(9, buyer=1, amount=80)
    shop.purchase(10, buyer=2, amount=-500)
    shop.settle()
    assert shop.rejected_keys() == [10]
    assert shop.totals() == {1: 30, 2: 7}


def test_a_refused_delete_is_told_and_the_record_stays(shop: Shop) -> None:
    shop.users("Ann", "Bea")
    shop.settle()
    shop.refuse_deletes()
    shop.delete("users", 1)
    shop.app.triggering.ask(TriggerRequest(source="users", keys=(("1",),)), Asker(by="test"))
    shop.user(2, "Bo")
    shop.settle()
    assert shop.names() == {1: "Ann", 2: "Bo"}
    (row,) = shop.rejected()
    assert (row.key, json.loads(row.raw)["_deleted"]) == (("1",), "true")
    shop.allow()
    shop.replay()
    assert (shop.names(), shop.rejected()) == ({2: "Bo"}, [])


def test_what_refuses_each_row_is_not_in_the_rows_and_nothing_is_rejected(shop: Shop) -> None:
    shop.users(*["Ann"] * 40)
    shop.refuse("name", "name <> ''")
    shop.poll()
    report = shop.merge()
    assert report.state is MergeState.BLOCKED
    assert "each of its 40 rows is refused; the first: " in report.errors[0]
    assert (shop.rejected(), shop.names()) == ([], {})
    (users,) = (f for f in shop.app.status.feed_status() if f.source_id == "users")
    assert users.backing_off
    shop.allow()
    shop.app.journal.back_off([_head(shop)], "asked", delay_s=-1)
    assert shop.merge().state is MergeState.DRAINED
    assert len(shop.names()) == 40


def _head(shop: Shop) -> str:
    (target,) = shop.app.targets()
    (log,) = (x for x in shop.app.journal.logs(*target) if x.source_id == "users")
    found = shop.app.journal.batch_at(log, log.merged_seq + 1)
    assert found is not None
    return found


def test_an_outage_during_the_search_costs_nothing_of_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["Ann"] * 60
    names[41] = "Zed"
    shop.users(*names)
    shop.refuse("name", "name = 'Zed'")
    shop.poll()
    note, notes = shop.app.journal.note_bisection, []

    def noted(*args: object) -> None:
        note(*args)  # type: ignore[arg-type]
        notes.append(args)
        if len(notes) % 4 == 0:
            raise StoreUnavailableError("gone for a moment")

    monkeypatch.setattr(shop.app.journal, "note_bisection", noted)
    outages = 0
    while True:
        try:
            report = shop.merge()
            break
        except StoreUnavailableError:
            outages += 1
    assert outages > 2
    assert (report.state, shop.rejected_keys(), len(shop.names())) == (MergeState.DRAINED, [42], 59)


def test_workers_that_take_the_lock_from_each_other_find_the_same_rows_once(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.steps.taking_apart.VISIT_S", 0.0)  # the lock is free after each try
    names = ["Ann"] * 40
    names[11] = names[30] = "Zed"
    shop.users(*names)
    shop.refuse("name", "name = 'Zed'")
    shop.poll()
    with wiring.build(settings(tmp_path), process="test") as other, ThreadPoolExecutor(2) as workers:
        (target,) = shop.app.targets()
        ended = [workers.submit(_drained, app, target) for app in (shop.app, other)]
        assert all(future.result() for future in ended)
    assert sorted(shop.names()) == [id_ for id_ in range(1, 41) if id_ not in {12, 31}]
    assert shop.rejected_keys() == [12, 31]
    assert {row.attempts for row in shop.rejected()} == {1}
    assert shop.app.runs.runs(limit=9, source_id="users")[0].rejected == 2


def _drained(app: wiring.Application, target: Target) -> bool:
    """The worker comes back until nothing waits, as its nudges make it."""
    while any(feed.pending_batches for feed in app.status.feed_status()):
        app.merge(*target)
    return True


def test_a_row_that_is_gone_where_deletes_are_ignored_is_rejected_no_more(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "config" / "sources" / "users.json"
    body = json.loads(file.read_text())
    body["schedule"]["deletes"] = "ignore"
    file.write_text(json.dumps(body))
    assert not shop.app.apply(load(tmp_path / "config", dict(os.environ))).failed
    shop.users("Ann", "Zed")
    shop.refuse("name", "name = 'Zed'")
    shop.settle()
    shop.delete("users", 1)
    shop.delete("users", 2)
    shop.replay()
    assert (shop.names(), shop.rejected_keys("resolved")) == ({1: "Ann"}, [2])


def test_a_constraint_that_is_asked_only_at_the_commit_is_found_too(shop: Shop) -> None:
    if shop.is_sqlite:
        pytest.skip("SQLite defers nothing but foreign keys, which it does not ask unless it is told to")
    shop.store("CREATE TABLE teams (name text PRIMARY KEY)")
    shop.store("INSERT INTO teams VALUES ('Ann')")
    shop.store(
        "ALTER TABLE users ADD CONSTRAINT late FOREIGN KEY (name) REFERENCES teams"
        " DEFERRABLE INITIALLY DEFERRED"
    )
    shop.users("Ann", "Ann", "Zed", "Ann")
    shop.settle()
    assert (sorted(shop.names()), shop.rejected_keys()) == ([1, 2, 4], [3])


def test_what_a_users_own_trigger_raises_is_a_refusal(shop: Shop) -> None:
    if shop.is_sqlite:
        shop.store(
            "CREATE TRIGGER own BEFORE INSERT ON users WHEN NEW.name = 'Zed'"
            " BEGIN SELECT RAISE(ROLLBACK, 'no Zed here'); END"
        )
    else:
        shop.store(
            "CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN IF NEW.name = 'Zed' THEN RAISE 'no Zed here'; END IF; RETURN NEW; END$$"
        )
        shop.store("CREATE TRIGGER own BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION own()")
    shop.users("Ann", "Zed", "Ann", "Ann", "Ann")
    shop.settle()
    assert sorted(shop.names()) == [1, 3, 4, 5]
    assert "no Zed here" in shop.rejected()[0].reason


def test_a_row_that_kills_each_worker_is_found_and_the_rest_goes_in(shop: Shop, tmp_path: Path) -> None:
    shop.users(*["Ann"] * 64)
    shop.poll()
    command = [sys.executable, "-m", "tests.conformance.killing", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    ends = [int(code) for code in done.stdout.split()]
    assert ends[-1] == 0, done.stderr
    assert set(ends[:-1]) == {-signal.SIGKILL}
    assert len(ends) <= DEATHS + 5 + DEATHS + 1
    assert sorted(shop.names()) == [id_ for id_ in range(1, 65) if id_ != KILLER]
    ((key, code),) = [(row.key, row.code) for row in shop.rejected()]
    assert (key, code) == ((str(KILLER),), "killed")
    shop.replay()
    assert (shop.names()[KILLER], shop.rejected()) == ("Ann", [])


def test_verify_excepts_all_refused_rows_however_many(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a worker keeps in mind, in several pages."""
    few, all_refused = 3, shop.app.journal.refused_rows
    monkeypatch.setattr(shop.app.journal, "refused_rows", lambda feed: all_refused(feed)[:few])
    monkeypatch.setattr(verify, "PAGE_ROWS", 5)
    shop.users(*["Zed", "Ann"] * 12)
    shop.refuse("name", "name = 'Zed'")
    shop.settle()
    assert len(shop.rejected()) == 12
    for wanted in (verify.Wanted(), verify.Wanted(sample=Sample(size=24, seed=1))):
        (report,) = verify.run_verify(shop.app, wanted)
        assert isinstance(report, ModelReport)
        assert (report.differing, report.behind, report.stored) == ([], [], 12)
