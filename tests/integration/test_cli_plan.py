"""What `plan` and `apply` say: what is added, changed and removed, and what is read again and why."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.integration.command import Command, change, define


def test_a_plan_marks_what_goes_and_what_is_recomputed(headrace: Command, project: Path) -> None:
    source = json.loads(Path("config/sources/refunds.json").read_text())
    del source["properties"]["total_refunded"]
    define("sources/refunds", properties=source["properties"])

    signs = {}
    for line in headrace("plan").out.splitlines():
        sign, _, what = line.partition(" ")
        signs[what.replace("data source main: ", "")] = sign

    assert signs["users: drop column total_refunded"] == "-"
    assert signs["users: recompute the properties of source refunds"] == "~"
    assert signs["sources/refunds  (properties.total_refunded)"] == "~"


def test_a_plan_says_why_a_feed_is_read_again(headrace: Command, project: Path) -> None:
    define("sources/users", schedule={"every": "2s", "cursor": "id"})

    assert "feed users of app_db would be read anew: its cursor is another column" in headrace("plan").out
    (reread,) = headrace("plan", "--json").json["reread"]
    assert (reread["source"], reread["why"]) == ("users", "its cursor is another column")


def test_a_plan_says_that_a_data_source_is_another_database(headrace: Command, project: Path) -> None:
    define("data_sources/main", url="sqlite:///stores/other.db")

    planned = headrace("plan")

    assert "~ data source main is another database now" in planned.out
    assert headrace("plan", "--json").json["refilled"] == ["main"]
    headrace("sync")
    assert headrace("plan").out == "Nothing to change.\n"


# --- what cannot be asked -----------------------------------------------------------------------


@pytest.fixture
def unreachable(headrace: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example, never applied, its shop's database not to be reached."""
    monkeypatch.chdir(tmp_path)
    headrace("init", "--example")
    define("apps/shop_db", type="postgres", url="postgresql://reader@127.0.0.1:1/shop")
    return tmp_path


@pytest.mark.usefixtures("unreachable")
def test_what_is_left_out_is_not_claimed_and_is_planned_again(headrace: Command) -> None:
    Path("sources/shop.db").rename("kept.db")

    applied = headrace("apply")

    assert applied.code == 1
    assert "sources/purchases" not in applied.out.splitlines()[0]
    assert "+ sources/purchases" not in applied.out
    assert "+ sources/users" in applied.out
    assert applied.out.splitlines()[-1] == "Applied as version 1, without sources/purchases, sources/refunds."
    define("apps/shop_db", type="sqlite", url="sqlite:///kept.db")
    planned = headrace("plan").out
    assert "+ sources/purchases" in planned
    assert "+ sources/users" not in planned
    assert headrace("sync").code == 0
    assert headrace("records", "users", "12", "--json").json[0]["purchases"] > 0


@pytest.mark.usefixtures("unreachable")
@pytest.mark.parametrize("command", [("sync",), ("apply",), ("plan",), ("validate", "--connect")])
def test_a_database_that_cannot_be_reached_is_one_line(headrace: Command, command: tuple[str, ...]) -> None:
    for _ in range(2):
        ended = headrace(*command)
        assert ended.code == 1
        assert re.fullmatch(
            r"config/apps/shop_db.json: cannot be reached: .*refused.*; left out until it can be: "
            r"purchases, refunds.*\n",
            ended.err,
        )


def test_a_database_that_went_away_is_one_line(headrace: Command, project: Path) -> None:
    headrace("sync")  # this copy of the example has other files than the one it was synced from
    Path("sources/shop.db").rename("kept.db")

    for command in (("sync",), ("plan",)):
        ended = headrace(*command)
        assert ended.code == 1
        assert ended.err.count("\n") == 1, ended.err
        assert "shop_db" in ended.err
    told = headrace("reconcile", "purchases").err
    assert told.startswith("purchases: app shop_db: ")
    assert told.count("\n") == 1


def test_what_a_primary_source_s_database_takes_with_it_is_not_told_as_well(
    headrace: Command, project: Path
) -> None:
    headrace("sync")
    define("apps/app_db", type="postgres", url="postgresql://reader@127.0.0.1:1/app")

    for command in (("sync",), ("plan",)):
        told = headrace(*command).err
        assert told.startswith("config/apps/app_db.json: cannot be reached: ")
        assert told.count("\n") == 1, told


def test_a_store_of_another_workspace_is_one_line(headrace: Command, project: Path) -> None:
    headrace("sync")
    Path(".headrace").rename("earlier")

    ended = headrace("sync")

    assert ended.code == 1
    lines = ended.err.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "config/data_sources/initech.json", "config/data_sources/main.json",
    ]  # fmt: skip


# --- keys ---------------------------------------------------------------------------------------


def test_a_key_that_may_not_be_unique_is_warned_of(headrace: Command, project: Path) -> None:
    define("sources/purchases", key=["item"])
    for command in (("validate", "--connect"), ("plan",), ("apply",)):
        ended = headrace(*command)
        assert ended.code == 0
        assert ended.err.startswith(
            "config/sources/purchases.json:key: warning: no unique index covers (item)"
        )
    change("sources/shop.db", "ALTER TABLE refunds ADD COLUMN note TEXT")
    define("sources/refunds", key=["note"])
    assert (
        "config/sources/refunds.json:key[0]: warning: note is nullable and no unique index covers it"
        in headrace("plan").err
    )


def test_a_key_that_is_unique_is_not_warned_of(headrace: Command, project: Path) -> None:
    change("sources/shop.db", "CREATE UNIQUE INDEX by_tenant ON refunds (tenant, id)")
    define("sources/refunds", key=["id", "tenant"])
    assert headrace("plan").err == ""
