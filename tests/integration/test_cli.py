"""The command line over real databases: what it prints, and how it ends."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.command import HEADRACE, Command, change, define

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"


def documented(heading: str) -> set[str]:
    """The keys that docs/cli.md lists below a heading."""
    section = re.split(r"^#+ ", DOCUMENT.read_text(), flags=re.MULTILINE)
    (text,) = (part for part in section if part.startswith(heading))
    listed = text[text.index("JSON") :]
    return set(re.findall(r"`([a-z_]+)`", listed)) - {"sync"}


def keys_of(value: Any) -> set[str]:
    """Every key of every object, but for those of rows, which a person named."""
    if isinstance(value, list):
        return set().union(*(keys_of(item) for item in value)) if value else set()
    if not isinstance(value, dict):
        return set()
    inner = (keys_of(v) for k, v in value.items() if k not in {"rows", "raw", "value", "invalid"})
    return set(value).union(*inner)


# --- reading commands ---------------------------------------------------------------------------


def test_json_has_the_documented_keys(headrace: Command, project: Path) -> None:
    define("sources/purchases", unknown_customers="hold")
    change("sources/shop.db", "UPDATE purchases SET tenant = 'nobody' WHERE id = 7")
    change("sources/app.db", "CREATE TABLE notes (id INTEGER PRIMARY KEY, user_id REFERENCES users (id))")
    change("sources/app.db", "UPDATE users SET name = 'Ada King' WHERE id = 12")
    printed = {"`headrace sync": headrace("sync", "--json").json}
    define("models/users", name="People")
    define("sources/refunds", table="refund")
    define("sources/user_accounts", key=["id", "tenant"])
    for heading, arguments in (
        ("`headrace plan`", ("plan",)),
        ("`headrace discover", ("discover", "app_db")),
        ("`headrace status`", ("status",)),
        ("`headrace runs", ("runs",)),
        ("`headrace explain ", ("explain", "users", "12")),
        ("`headrace rejected list", ("rejected", "list")),
    ):
        printed[heading] = headrace(*arguments, "--json").json

    for heading, value in printed.items():
        assert keys_of(value) == documented(heading), heading


def test_verify_tells_both_values_and_fails_where_a_record_differs(headrace: Command, project: Path) -> None:
    headrace("sync")  # a copied file is another database: it is compared in full
    assert headrace("verify").code == 0
    define("sources/purchases", unknown_customers="hold")
    change("sources/shop.db", "UPDATE purchases SET tenant = 'nobody' WHERE id = 7")
    change("sources/shop.db", "DELETE FROM refunds")
    headrace("sync", "--source", "purchases", "--source", "refunds", "--reconcile")
    change("stores/main.db", "UPDATE users SET name = 'Damaged' WHERE user_id = 12")

    told = headrace("verify", "--model", "users", "--json")
    assert told.code == 1
    assert keys_of(told.json) == documented("`headrace verify")
    lines = headrace("verify", "--sample", "1000", "--seed", "7")
    assert lines.code == 1
    assert re.search(r"name: sources say .+, data source has Damaged \(from users\)", lines.out)
    assert "--seed 7" in lines.out
    assert "held by a breaker" in lines.out
    assert headrace("verify", "--model", "nothing").code == 2
    headrace("pause", "users", "--reason", "moving")
    paused = headrace("verify", "--model", "users")
    assert paused.code == 1
    assert re.search(r"not judged: .+ differs, but users is paused: moving", paused.out)


def test_records_are_objects_of_all_properties(headrace: Command, project: Path) -> None:
    records = headrace("records", "users", "--json").json

    assert len(records) == 300
    assert list(records[0]) == [
        "_customer_id", "user_id", "email", "name", "signed_up_on", "account_id",
        "purchases", "total_spent", "last_item", "last_bought_at", "refunds", "total_refunded",
        "account_name", "plan", "_created_at", "_updated_at", "_invalid",
    ]  # fmt: skip
    (ada,) = headrace("records", "users", "12", "--json").json
    assert ada["total_spent"] == "207.5"
    assert ada["signed_up_on"] == "2024-05-04"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", ada["last_bought_at"])
    assert ada["_invalid"] is None


def test_records_of_a_customer_come_from_its_data_source(headrace: Command, project: Path) -> None:
    lines = headrace("records", "users", "--customer", "initech").out.splitlines()

    assert lines[0].split()[:3] == ["data", "source", "_customer_id"]
    assert {line.split()[0] for line in lines[1:51]} == {"initech"}


def test_a_record_that_is_not_there_is_a_failure(headrace: Command, project: Path) -> None:
    assert headrace("records", "users", "999999").code == 1
    assert headrace("explain", "users", "999999").code == 1


def test_a_key_of_the_wrong_type_is_bad_usage(headrace: Command, project: Path) -> None:
    ended = headrace("records", "users", "ada")
    told = '"ada" is no integer, as the user_id of users is [configuration_invalid]\n'
    assert (ended.code, ended.err) == (2, told)
    assert headrace("records", "users", "1", "2").code == 2


def test_explain_tells_source_rows_and_meaning(headrace: Command, project: Path) -> None:
    (explained,) = headrace("explain", "users", "12", "--json").json

    by_name = {p["property"]: p for p in explained["properties"]}
    assert by_name["total_spent"]["from"] == "sum of amount where state = paid"
    assert by_name["last_item"]["from"] == "latest item by bought_at where state = paid"
    purchases = next(s for s in explained["sources"] if s["source"] == "purchases")
    assert [row["buyer_id"] for row in purchases["rows"]] == [12, 12, 12]
    assert purchases["more_rows"] is True
    assert purchases["last_run"]["state"] == "succeeded"


def test_names_that_are_wrong_are_mended(headrace: Command, project: Path) -> None:
    for arguments in (
        ("records", "user"),
        ("sync", "--source", "user"),
        ("trigger", "user"),
        ("preview", "user"),
    ):
        ended = headrace(*arguments)
        assert ended.code == 2
        assert 'did you mean "users"?' in ended.err


# --- sync and operation -------------------------------------------------------------------------


def test_sync_tells_what_it_wrote(headrace: Command, project: Path) -> None:
    change("sources/app.db", "UPDATE accounts SET name = 'Renamed' WHERE id = 5")

    report = headrace("sync", "--json").json

    written = {(d["data_source"], d["model"]): d["updated"] for d in report["data_sources"]}
    assert written["initech", "users"] == 10
    assert written["initech", "accounts"] == 1
    assert headrace("sync").out.rstrip().endswith("No record changed.")


def test_sync_goes_on_after_a_source_that_fails(headrace: Command, project: Path) -> None:
    Path("sources/shop.db").rename("sources/elsewhere.db")
    change("sources/app.db", "UPDATE users SET name = 'Ada King' WHERE id = 12")

    ended = headrace("sync")

    assert ended.code == 1
    assert "config/apps/shop_db.json: there is no file sources/shop.db" in ended.err
    assert headrace("records", "users", "12", "--json").json[0]["name"] == "Ada King"


@pytest.mark.parametrize(("freshness", "state"), [("1d", "late"), ("36500d", "ok")])
def test_status_judges_a_source_by_its_freshness(
    project: Path, headrace: Command, freshness: str, state: str
) -> None:
    schedule = json.loads((project / "config" / "sources" / "users.json").read_text())["schedule"]
    define("sources/users", schedule={**schedule, "freshness": freshness})
    assert headrace("sync").code == 0
    change(".headrace/control.db", "UPDATE feed SET last_success_at = '2020' || substr(last_success_at, 5)")
    (users,) = (feed for feed in headrace("status", "--json").json if feed["source"] == "users")
    assert users["state"] == state
    assert headrace("status").code == 0


def test_strict_fails_on_a_rejected_row_and_names_it(headrace: Command, project: Path) -> None:
    define("sources/purchases", unknown_customers="hold")
    headrace("apply")
    change("sources/shop.db", "UPDATE purchases SET tenant = 'nobody' WHERE id = 7")

    assert headrace("sync").code == 0
    (row,) = headrace("rejected", "list", "--json").json
    assert (row["source"], row["key"]) == ("purchases", ["7"])
    change("sources/shop.db", "UPDATE purchases SET item = 'again' WHERE id = 7")
    assert headrace("sync", "--strict").code == 1


def test_reconcile_holds_a_big_loss_until_it_is_confirmed(headrace: Command, project: Path) -> None:
    change("sources/app.db", "DELETE FROM users WHERE id > 60")

    held = headrace("reconcile", "users")
    assert held.code == 0
    assert "headrace reconcile users --confirm" in held.out
    (users,) = (feed for feed in headrace("status", "--json").json if feed["source"] == "users")
    # Of main's 200 records 160 are gone, which is too many; of initech's 100 only 80.
    assert users["held"] == 160
    assert len(headrace("records", "users", "--json").json) == 220

    assert headrace("reconcile", "users", "--confirm").code == 0
    assert len(headrace("records", "users", "--json").json) == 60


def test_a_paused_source_stays_until_it_is_resumed(headrace: Command, project: Path) -> None:
    assert headrace("pause", "users", "--reason", "being migrated").code == 0
    change("sources/app.db", "UPDATE users SET name = 'Ada King' WHERE id = 12")
    headrace("sync")
    assert headrace("records", "users", "12", "--json").json[0]["name"] == "Ada Lovelace"
    (users,) = (f for f in headrace("status", "--json").json if f["source"] == "users")
    assert (users["state"], users["paused_reason"]) == ("paused", "being migrated")

    assert headrace("resume", "users").out == "users: resumed.\n"
    assert headrace("resume", "users").out == "users: was not paused.\n"
    headrace("sync")
    assert headrace("records", "users", "12", "--json").json[0]["name"] == "Ada King"


def test_a_trigger_makes_the_feed_due(headrace: Command, project: Path) -> None:
    assert headrace("trigger", "users").code == 0
    with closing(sqlite3.connect(".headrace/control.db")) as control:
        assert control.execute("SELECT again FROM feed WHERE source_id = 'users'").fetchall() == [(1,)]


def test_a_trigger_of_keys_asks_for_exactly_these_and_is_told(headrace: Command, project: Path) -> None:
    ended = headrace(
        "trigger", "users", "--app", "app_db", "--customer", "acme", "--key", "12", "--key", "[7]"
    )
    assert (ended.code, ended.out) == (
        0, "users: a read of 2 rows is asked for; running workers begin it at once.\n",
    )  # fmt: skip
    with closing(sqlite3.connect(".headrace/control.db")) as control:
        asked = {key for (key,) in control.execute("SELECT key FROM key_request")}
    assert asked == {'["12"]', '["7"]'}
    assert headrace("trigger", "users", "--json").json == {"source": "users", "apps": ["app_db"], "keys": 0}

    refused = headrace("trigger", "users", "--key", '["a", "b"]')
    assert (refused.code, refused.out) == (1, "")
    assert 'keys: ["a", "b"] is no key of users (id) [invalid_request]' in refused.err
    assert headrace("trigger", "users", "--app", "shop_db").code == 1
    unfit = headrace("trigger", "users", "--app", "No App")
    assert (unfit.code, unfit.err.startswith("--app: ")) == (2, True)

    told = headrace("triggers", "--json").json
    assert {line["by"].partition(":")[0] for line in told} == {"cli"}
    assert {(line["app"], line["customer"], line["keys"], line["outcome"]) for line in told} == {
        ("app_db", "acme", 2, "accepted"), (None, None, 0, "accepted"),
        (None, None, 0, "rejected"), ("shop_db", None, 0, "rejected"),
    }  # fmt: skip
    rejected = headrace("triggers", "--rejected", "--source", "users", "--since", "1h").out
    assert "invalid_request" in rejected
    assert "not_found" in rejected
    assert headrace("triggers", "--source", "purchases").out == "No such trigger is known.\n"


# --- definitions --------------------------------------------------------------------------------


def test_all_faults_are_told_at_once_and_nothing_is_made(
    headrace: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert headrace("init", "--example").code == 0
    define("sources/users", app="app_dbb")
    define("sources/purchases", colour="red")
    define("sources/refunds", mapping={"user_id": "userid"})

    for command in (("validate",), ("plan",), ("apply",), ("sync",)):
        ended = headrace(*command)
        assert ended.code == 2
        lines = ended.err.splitlines()
        assert len(lines) == 3, ended.err
        assert all(
            re.match(r"config/sources/(users|purchases|refunds)\.json:[a-z_.]+: .", line) for line in lines
        )
        assert 'did you mean "app_db"?' in ended.err
    assert not Path(".headrace").exists()


def test_validate_connect_names_the_column_that_is_missing(headrace: Command, project: Path) -> None:
    change("sources/shop.db", "ALTER TABLE refunds RENAME COLUMN reason TO why")
    assert headrace("validate", "--connect").code == 0
    change("sources/shop.db", "ALTER TABLE refunds RENAME COLUMN amount TO total")

    assert headrace("validate").code == 0
    ended = headrace("validate", "--connect")
    assert ended.code == 2
    assert 'config/sources/refunds.json:properties.total_refunded.column: no column "amount"' in ended.err


def test_plan_shows_what_apply_does_and_changes_nothing(headrace: Command, project: Path) -> None:
    assert headrace("plan").out == "Nothing to change.\n"
    source = json.loads(Path("config/sources/refunds.json").read_text())
    source["properties"]["last_reason"] = {
        "type": "string", "aggregation": "most_recent", "column": "reason", "order_by": "updated_at",
    }  # fmt: skip
    define("sources/refunds", **source)

    planned = headrace("plan")
    assert planned.code == 0
    assert "~ sources/refunds  (properties.last_reason)" in planned.out
    assert "feed refunds of shop_db would be read anew" in planned.out
    assert headrace("plan").out == planned.out
    assert headrace("apply").code == 0
    assert headrace("plan").out == "Nothing to change.\n"


def test_discover_needs_only_the_app_and_makes_a_definition(headrace: Command, project: Path) -> None:
    Path("config/sources/users.json").write_text("{")

    made = headrace("discover", "shop_db", "refunds").json
    assert (made["key"], made["schedule"]["cursor"], made["app"]) == (["id"], "updated_at", "shop_db")
    assert headrace("discover", "shop_dbb").code == 2


def test_preview_shows_rows_without_applying(
    headrace: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    headrace("init", "--example")
    rows = headrace("preview", "purchases", "--limit", "2", "--json").json
    assert [row["id"] for row in rows] == ["1", "2"]
    assert "the mapping to user_id" in headrace("preview", "purchases").out
    assert not Path(".headrace").exists()


def test_config_names_another_directory(headrace: Command, project: Path) -> None:
    Path("config").rename("definitions")
    assert headrace("validate").code == 2
    assert headrace("validate", "--config", "definitions").code == 0


# --- the start of a project ---------------------------------------------------------------------


def test_init_makes_a_valid_project_once(
    headrace: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert headrace("init", "mine").code == 0
    assert Path("mine/config/.schema/sources.json").exists()
    again = headrace("init", "mine")
    assert (again.code, again.err) == (
        2,
        "mine/config exists already; name another directory, or remove it first [configuration_invalid]\n",
    )
    monkeypatch.chdir("mine")
    assert headrace("validate").code == 0


def test_commands_before_the_first_apply_say_what_to_run(
    headrace: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (("status",), ("runs",), ("records", "users"), ("reconcile", "users")):
        ended = headrace(*command)
        assert ended.code == 2
        assert "run `headrace sync`" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_the_control_database_is_made_and_checked(
    headrace: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_CONTROL_URL", "sqlite:///control.db")
    assert headrace("db", "check").code == 1
    assert headrace("db", "upgrade").code == 0
    assert headrace("db", "check").code == 0


# --- the command itself -------------------------------------------------------------------------


def test_a_pipe_gets_no_escape_sequence(project: Path) -> None:
    for command in (["sync", "--help"], ["frobnicate"], ["explain", "users", "12"]):
        done = subprocess.run(
            [HEADRACE, *command], capture_output=True, text=True, env={"PATH": "", "FORCE_COLOR": "1"}
        )
        assert done.stdout + done.stderr
        assert "\x1b" not in done.stdout + done.stderr


def test_a_reader_that_leaves_is_no_error(project: Path) -> None:
    command = f"{HEADRACE} records users --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[\n", "")
