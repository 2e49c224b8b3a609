"""Files from the command line: found, defined, merged; what cannot be read is told."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.command import HEADRACE, Command

PROJECT: dict[str, dict[str, Any]] = {
    "apps/exports": {"name": "Exports", "type": "files", "url": "file://./exports"},
    "schemas/shop": {"name": "Shop"},
    "visibility_groups/production": {"name": "Production"},
    "data_sources/main": {
        "nickname": "Main",
        "schema": "shop",
        "default_for": ["production"],
        "type": "sqlite",
        "url": "sqlite:///store.db",
    },
    "models/users": {"name": "Users", "schema": "shop"},
    "sources/users": {
        "name": "Users",
        "model": "users",
        "primary": True,
        "app": "exports",
        "table": "users.csv",
        "key": ["id"],
        "properties": {
            "id": {"type": "integer", "column": "id"},
            "name": {"type": "string", "column": "name"},
        },
    },
}
USERS = Path("exports/users.csv")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project over a directory of files is the current directory."""
    monkeypatch.chdir(tmp_path)
    for place, body in PROJECT.items():
        file = Path("config") / f"{place}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(body))
    USERS.parent.mkdir()
    USERS.write_text("id,name\n1,a\n2,b\n3,c\n")


def users() -> dict[int, str]:
    with closing(sqlite3.connect("store.db")) as store:
        return dict(store.execute("SELECT id, name FROM users").fetchall())


def test_a_line_that_breaks_by_accident_deletes_no_record(headrace: Command) -> None:
    headrace("sync")
    USERS.write_text("id,name\n1,a\n2,b,oops\n4,d\n")
    assert headrace("sync").code == 0
    assert users() == {1: "a", 2: "b", 3: "c", 4: "d"}
    verified = headrace("verify")
    assert (verified.code, "held by a breaker, not compared: 2 of users" in verified.out) == (0, True)

    USERS.write_text("id,name\n1,a\n2,B\n4,d\n")
    headrace("sync")
    assert users() == {1: "a", 2: "B", 4: "d"}


def test_a_person_may_remove_what_a_broken_line_holds(headrace: Command) -> None:
    headrace("sync")
    USERS.write_text("id,name\n1,a\n2,b,oops\n")
    headrace("sync")
    assert users() == {1: "a", 2: "b", 3: "c"}
    assert headrace("reconcile", "users", "--confirm").code == 0
    headrace("sync")
    assert users() == {1: "a"}


def test_a_bad_line_is_set_aside_with_its_reason_and_the_rest_is_merged(headrace: Command) -> None:
    USERS.write_text("id,name\n1,a\n2,b,oops\nx,c\n3,d\n")
    done = headrace("sync", "--json")
    assert done.code == 0
    assert users() == {1: "a", 3: "d"}
    rejected = {row["code"]: row for row in headrace("rejected", "list", "--json").json}
    assert set(rejected) == {"unreadable", "key_unfit"}
    unreadable = rejected["unreadable"]
    assert unreadable["key"] == ["users.csv row 3"]
    assert unreadable["reason"] == 'row 3 of "users.csv" has 3 fields, not 2'
    assert unreadable["raw"] == "2,b,oops"
    listed = headrace("rejected", "list", "--code", "unreadable").out
    assert "2,b,oops" in listed
    assert '"2,b,oops' not in listed
    assert headrace("sync", "--strict").code == 1

    USERS.write_text("id,name\n1,a\n2,b\n3,d\n")
    assert headrace("sync").code == 0
    assert users() == {1: "a", 2: "b", 3: "d"}


def test_a_line_that_is_no_row_is_closed_when_the_files_have_it_no_more(headrace: Command) -> None:
    def open_lines() -> list[Any]:
        return [row["raw"] for row in headrace("rejected", "list", "--json").json]

    USERS.write_text("id,name\n1,a\n2,b,oops\n3\n")
    assert headrace("sync").code == 0
    assert open_lines() == ["2,b,oops", "3"]
    USERS.write_text("id,name\n1,a\n4,d\n3\n")
    assert headrace("sync").code == 0
    assert open_lines() == ["3"]
    assert headrace("rejected", "replay", "--all").code == 1
    assert open_lines() == ["3"]
    USERS.write_text("id,name\n1,a\n4,d\n3,c\n")
    assert headrace("rejected", "replay", "--all").code == 0
    assert open_lines() == []
    assert users() == {1: "a", 3: "c", 4: "d"}


@pytest.mark.parametrize("key", ["integer", "string"])
def test_with_a_cursor_a_replay_reads_the_files_whole_for_a_line_that_was_no_row(
    headrace: Command, key: str
) -> None:
    properties = {"id": {"type": key, "column": "id"}, "at": {"type": "date", "column": "at"}}
    source = PROJECT["sources/users"] | {"schedule": {"cursor": "at"}, "properties": properties}
    Path("config/sources/users.json").write_text(json.dumps(source))
    USERS.write_text("id,at\n1,2026-01-01\n2,2026-01-02,oops\n")
    assert headrace("sync").code == 0
    assert headrace("rejected", "replay", "--all").code == 1
    USERS.write_text("id,at\n1,2026-01-01\n2,2026-01-02\n")
    assert headrace("rejected", "replay", "--all").code == 0
    assert headrace("rejected", "list", "--json").json == []


def test_a_missing_file_fails_its_source_and_removes_nothing(headrace: Command) -> None:
    assert headrace("sync").code == 0
    content = USERS.read_text()
    USERS.unlink()
    failed = headrace("sync")
    assert failed.code == 1
    assert "nothing is read, and nothing removed" in failed.out + failed.err
    assert len(users()) == 3
    USERS.write_text(content.replace("c", "C"))
    assert headrace("sync").code == 0
    assert users()[3] == "C"


def test_a_file_that_lost_most_of_its_rows_is_held_by_the_breaker(headrace: Command) -> None:
    USERS.write_text("id,name\n" + "".join(f"{n},x\n" for n in range(300)))
    assert headrace("sync").code == 0
    USERS.write_text("id,name\n1,x\n")
    assert headrace("sync").code == 0
    assert len(users()) == 300
    headrace("reconcile", "users", "--confirm")
    assert users() == {1: "x"}


def test_rows_that_left_the_file_are_deleted(headrace: Command) -> None:
    headrace("sync")
    USERS.write_text("id,name\n3,c\n1,changed\n")
    assert headrace("sync").code == 0
    assert users() == {1: "changed", 3: "c"}


def test_a_cursor_of_times_in_a_file_is_followed(headrace: Command) -> None:
    source = PROJECT["sources/users"] | {"schedule": {"cursor": "at"}}
    Path("config/sources/users.json").write_text(json.dumps(source))
    USERS.write_text("id,name,at\n1,a,2026-01-01\n2,b,2026-01-02T10:00:00Z\n3,none,\n4,future,2999-01-01\n")
    assert headrace("sync").code == 0
    assert users() == {1: "a", 2: "b", 3: "none", 4: "future"}
    USERS.write_text("id,name,at\n1,unseen,2026-01-01\n2,B,2026-01-03\n3,some,\n4,later,2999-01-02\n")
    assert headrace("sync").code == 0
    assert users() == {1: "a", 2: "B", 3: "some", 4: "later"}
    assert headrace("reconcile", "users", "--full").code == 0
    assert users()[1] == "unseen"
    [feed] = headrace("status", "--json").json
    assert feed["class"] == "eventual"


def test_a_long_file_is_looked_at_without_being_read_to_its_end() -> None:
    lines = "".join(f"{n},{'x' * 1000}\n" for n in range(5_000))
    USERS.write_text("id,name\n" + lines)
    # A process of its own: a thread that still reads when Python ends aborts it.
    ended = subprocess.run([HEADRACE, "discover", "exports"], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "users.csv" in ended.stdout


def test_files_are_discovered_and_defined_from(headrace: Command) -> None:
    Path("exports/2026").mkdir()
    Path("exports/2026/Orders.csv.gz").write_bytes(b"no gzip at all")
    Path("exports/2026/visits.tsv").write_text("visit_id\tseen_at\n7\t2026-01-01 10:00:00\n")
    listed = {table["table"]: table for table in headrace("discover", "exports", "--json").json}
    assert set(listed) == {"users.csv", "2026/visits.tsv"}  # no directory with a file that cannot be read
    definition = headrace("discover", "exports", "visits").json
    assert (definition["model"], definition["table"]) == ("visits", "2026/visits.tsv")
    assert (definition["key"], definition["schedule"]["cursor"]) == (["visit_id"], "seen_at")
    assert headrace("preview", "users", "--json").json[0] == {"id": "1", "name": "a"}


def test_records_are_verified_against_files(headrace: Command) -> None:
    headrace("sync")
    assert headrace("verify").code == 0
    with closing(sqlite3.connect("store.db")) as store, store:
        store.execute("UPDATE users SET name = 'damaged' WHERE id = 2")
    assert headrace("verify").code == 1


def test_a_command_warns_in_words_unless_json_is_asked_for(
    headrace: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("exports/broken.csv.gz").write_bytes(b"no gzip at all")
    monkeypatch.delenv("HEADRACE_LOG_FORMAT", raising=False)
    ended = headrace("discover", "exports")
    assert "users.csv" in ended.out
    assert "[warning  ] file not listed" in ended.err
    assert "{" not in ended.err
    monkeypatch.setenv("HEADRACE_LOG_FORMAT", "json")
    assert json.loads(headrace("discover", "exports").err)["file"] == "broken.csv.gz"


def test_a_file_that_is_missing_is_no_app_that_is_away(headrace: Command) -> None:
    visits = Path("exports/visits")
    visits.mkdir()
    (visits / "1.csv").write_text("id,user_id\n1,1\n")
    source = {
        "name": "Visits", "model": "users", "app": "exports", "table": "visits", "key": ["id"],
        "mapping": {"user_id": "id"}, "properties": {"visits": {"type": "integer", "aggregation": "count"}},
    }  # fmt: skip
    Path("config/sources/visits.json").write_text(json.dumps(source))
    assert headrace("sync").code == 0
    (visits / "1.csv").unlink()
    visits.rmdir()
    USERS.write_text("id,name\n1,changed\n2,b\n3,c\n")
    ended = headrace("sync")
    assert ended.code == 1
    assert users()[1] == "changed"
    assert "cannot be reached" not in ended.out + ended.err
    (told,) = ended.err.splitlines()
    assert told.startswith('config/sources/visits.json: app exports: table "visits" does not exist')
    findings = {f["where"]: f for f in reversed(headrace("doctor", "--json").json)}
    assert findings["feed users of app exports"]["severity"] == "warning"
    assert {where for where, finding in findings.items() if finding["severity"] == "error"} == {
        "source config/sources/visits.json",
        "feed visits of app exports",
    }

    Path("exports").rename("elsewhere")
    away = headrace("sync")
    assert "config/apps/exports.json: cannot be reached: there is no directory" in away.err


def test_whatever_a_source_may_name_is_discovered(headrace: Command) -> None:
    for name in ("events/e1.csv", "events/e2.csv", "mixed/a.csv", "mixed/b.csv"):
        Path("exports", name).parent.mkdir(exist_ok=True)
        Path("exports", name).write_text("e_id,seen_at\n1,2026-01-01 10:00:00\n")
    Path("exports/mixed/b.csv").write_text("other\n1\n")
    listed = {table["table"]: table for table in headrace("discover", "exports", "--json").json}
    assert set(listed) >= {"events", "events/e1.csv", "mixed/a.csv"}
    assert "mixed" not in listed
    assert listed["events"]["estimated_rows"] == 2
    for table in ("events", "events/*.csv", "**/e?.csv"):
        definition = headrace("discover", "exports", table).json
        assert (definition["table"], definition["key"]) == (table, ["e_id"])
        assert definition["schedule"]["cursor"] == "seen_at"
        assert definition["model"] == ("events" if table.startswith("events") else "e")
    ended = headrace("discover", "exports", "even")
    assert ended.code == 2
    assert 'table "even" does not exist; the nearest existing name is "events"' in ended.err
