"""`headrace rejected`: looking at rows that were set aside, fetching them again, letting them go."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conformance.refusing import Shop, shop_at
from tests.integration.command import Command, synced
from tests.integration.test_cli import documented, keys_of


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Users 1 (Zed) to 4, of whom the data source refuses the first and the last, both called Zed."""
    monkeypatch.setenv("SHOP", str(tmp_path))
    monkeypatch.setenv("SHOP_STORE", f"sqlite:///{tmp_path}/store.db")
    with shop_at(tmp_path, os.environ["SHOP_STORE"]) as shop:
        shop.users("Zed", "Ann", "Bea", "Zed")
        shop.refuse("name", "name = 'Zed'")
        yield shop


@pytest.fixture
def headrace(headrace: Command, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command on the shop, after a first sync."""
    return synced(headrace, tmp_path, monkeypatch)


def ids(headrace: Command, *options: str) -> list[int]:
    return [row["id"] for row in headrace("rejected", "list", "--json", *options).json]


def test_a_sync_tells_of_rows_that_a_data_source_refused_and_does_not_fail(
    headrace: Command, shop: Shop
) -> None:
    shop.user(5, "Zed")
    ended = headrace("sync")
    assert ended.code == 0
    assert "headrace rejected list" in ended.out
    shop.user(6, "Zed")
    report = headrace("sync", "--json").json
    assert [store["rejected"] for store in report["data_sources"]] == [1]
    assert headrace("sync", "--strict").code == 1
    rejected = {feed["source"]: feed["rejected"] for feed in headrace("status", "--json").json}
    assert rejected == {"users": 4, "purchases": 0}


def test_rows_are_listed_by_what_they_are(headrace: Command, shop: Shop) -> None:
    listed = headrace("rejected", "list", "--json").json
    assert keys_of(listed) == documented("`headrace rejected list")
    assert [(r["key"], r["code"], r["data_source"]) for r in listed] == [
        (["1"], "refused", "main"),
        (["4"], "refused", "main"),
    ]
    assert len(ids(headrace, "--limit", "1")) == 1
    assert len(ids(headrace, "--source", "users", "--code", "refused")) == 2
    for none in (["--source", "purchases"], ["--code", "killed"], ["--state", "resolved"]):
        assert ids(headrace, *none) == []
    assert "RAISE" not in headrace("rejected", "list").out
    assert "Zed" in headrace("rejected", "list").out
    assert headrace("rejected", "list", "--state", "discarded").out == "No row is discarded.\n"


def test_what_is_misspelt_is_bad_usage_and_mended(headrace: Command) -> None:
    for arguments, words in (
        (("list", "--code", "refusd"), 'did you mean "refused"?'),
        (("list", "--state", "opn"), 'did you mean "open"?'),
        (("list", "--source", "user"), 'did you mean "users"?'),
        (("replay", "--source", "user"), 'did you mean "users"?'),
        (("replay",), "either ids"),
        (("replay", "1", "--all"), "either ids"),
        (("replay", "999"), "no open rejected row has the id 999"),
        (("discard",), "either ids"),
        (("discard", "--all"), "--all needs --source"),
        (("discard", "999"), "no open rejected row has the id 999"),
    ):
        ended = headrace("rejected", *arguments)
        assert (ended.code, words in ended.err) == (2, True), (arguments, ended)


def test_a_replay_merges_what_goes_in_now_and_fails_while_some_does_not(
    headrace: Command, shop: Shop
) -> None:
    first, last = ids(headrace)
    shop.source.execute("UPDATE users SET name = 'Ann', updated_at = '2020-01-01' WHERE id = 4")

    ended = headrace("rejected", "replay", "--all")
    assert ended.code == 1
    assert "Of 2 rejected rows, 1 still rejected." in ended.out
    assert ids(headrace) == [first]
    assert shop.names() == {2: "Ann", 3: "Bea", 4: "Ann"}

    shop.allow()
    replayed = headrace("rejected", "replay", str(first), "--json")
    assert replayed.code == 0
    assert keys_of(replayed.json) == documented("`headrace rejected list")
    assert [(r["id"], r["state"]) for r in replayed.json] == [(first, "resolved")]
    assert shop.names()[1] == "Zed"
    assert sorted(ids(headrace, "--state", "resolved")) == [first, last]
    nothing = "No row is set aside: there is nothing to fetch again.\n"
    for which in (["--all"], ["--source", "users"]):
        assert headrace("rejected", "replay", *which).out == nothing
    assert headrace("rejected", "replay", "--all", "--json").json == []


def test_a_discarded_row_asks_nothing_of_the_source_and_is_audited(headrace: Command, shop: Shop) -> None:
    first, last = ids(headrace)
    assert headrace("rejected", "discard", str(first)).out == "1 row discarded.\n"
    assert headrace("rejected", "discard", "--all", "--source", "users").out == "1 row discarded.\n"
    assert ids(headrace) == []
    assert sorted(ids(headrace, "--state", "discarded")) == [first, last]
    assert headrace("sync").code == 0
    assert shop.names() == {2: "Ann", 3: "Bea"}
    with closing(sqlite3.connect(os.environ["HEADRACE_CONTROL_URL"].removeprefix("sqlite:///"))) as control:
        told = control.execute("SELECT action, outcome, detail FROM audit ORDER BY id").fetchall()
    assert [(action, outcome) for action, outcome, _ in told] == [("rejected.discard", "done")] * 2
    assert [json.loads(detail)["ids"] for *_, detail in told] == [[first], [last]]


def test_verify_excepts_what_the_data_source_refused(headrace: Command, shop: Shop) -> None:
    shop.purchase(1, buyer=1, amount=5)
    shop.purchase(2, buyer=2, amount=7)
    headrace("sync")
    whole, sample = headrace("verify"), headrace("verify", "--sample", "9", "--seed", "1")
    assert (whole.code, sample.code) == (0, 0)
    for told in (whole.out, sample.out):
        assert "rejected, not compared: users 1: " in told
        assert "rejected, not compared: users 4: " in told
    (users,) = headrace("verify", "--json").json["models"]
    assert (users["rejected_rows"], users["discarded"]) == (2, [])
    assert [(row["source"], row["key"], row["code"]) for row in users["rejected"]] == [
        ("users", ["1"], "refused"),
        ("users", ["4"], "refused"),
    ]
    shop.allow()
    assert headrace("rejected", "replay", "--all").code == 0
    assert headrace("verify").code == 0
    assert shop.totals() == {1: 5, 2: 7, 3: 0, 4: 0}


def test_verify_excepts_what_was_discarded_as_long_as_its_source_has_it_so(
    headrace: Command, shop: Shop
) -> None:
    headrace("rejected", "discard", "--all", "--source", "users")
    ended = headrace("verify")
    assert ended.code == 0
    assert "discarded, not compared: users 1: " in ended.out
    (users,) = headrace("verify", "--json").json["models"]
    assert (users["rejected_rows"], [row["key"] for row in users["discarded"]]) == (0, [["1"], ["4"]])

    shop.user(1, "Ann")
    headrace("sync")
    (users,) = headrace("verify", "--json").json["models"]
    assert [row["key"] for row in users["discarded"]] == [["4"]]
    shop.store("DELETE FROM users WHERE id = 1")
    assert headrace("verify").code == 1


def test_verify_shows_a_few_of_the_records_that_are_behind_and_counts_all(
    headrace: Command, shop: Shop
) -> None:
    def rename(name: str) -> None:
        for id_ in range(5, 15):
            shop.user(id_, name)

    rename("Ann")
    headrace("sync")
    rename("Bea")
    lines = [line for line in headrace("verify").out.splitlines() if line.startswith("behind: ")]
    assert len(lines) == 4
    assert lines[-1] == "behind: 7 more"
    rename("Cid")
    (users,) = headrace("verify", "--json").json["models"]
    assert (users["behind_records"], len(users["behind"])) == (10, 10)


def test_verify_excepts_a_discarded_removal_as_long_as_the_source_lacks_the_row(
    headrace: Command, shop: Shop
) -> None:
    headrace("rejected", "discard", "--all", "--source", "users")
    shop.refuse_deletes(2)
    shop.delete("users", 2)
    headrace("reconcile", "users", "--full", "--confirm")
    removal = [str(row["id"]) for row in headrace("rejected", "list", "--json").json if row["key"] == ["2"]]
    assert headrace("rejected", "discard", *removal).code == 0
    assert shop.names() == {2: "Ann", 3: "Bea"}
    assert headrace("verify").code == 0
    shop.user(2, "Bea")
    (users,) = headrace("verify", "--json").json["models"]
    assert [row["key"] for row in users["behind"]] == [["2"]]


def test_a_value_that_does_not_fit_is_kept_aside_until_the_source_mends_it(
    headrace: Command, shop: Shop
) -> None:
    shop.user(2, "Ann", "not a day")
    ended = headrace("sync")
    assert "rows with invalid values" in ended.out
    assert "A record's _invalid tells of those of its rows, with the reason" in ended.out
    (ann,) = headrace("records", "users", "2", "--json").json
    assert (ann["name"], ann["born_on"]) == ("Ann", None)
    assert ann["_invalid"]["born_on"]["value"] == "not a day"
    shop.user(2, "Ann", "1990-02-28")
    headrace("sync")
    (ann,) = headrace("records", "users", "2", "--json").json
    assert (ann["born_on"], ann["_invalid"]) == ("1990-02-28", None)
    shop.source.execute("INSERT INTO purchases (id, buyer_id, amount) VALUES (1, 999, 'much')")
    ended = headrace("sync")
    assert "those of a row that belongs to no record are in none" in ended.out
    assert shop.store("SELECT count(*) FROM users WHERE _invalid IS NOT NULL") == [(0,)]
