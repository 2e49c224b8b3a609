"""Plain mistakes end in a line that says what to mend, never in a traceback or in silence."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.command import HEADRACE, Command, change, define


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory; the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text.strip()


# --- files and databases that are something else ------------------------------------------------


def test_a_control_database_that_is_no_database_is_a_line(
    headrace: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("README.txt").write_text("Read me. " * 1000)
    monkeypatch.setenv("HEADRACE_CONTROL_URL", "sqlite:///README.txt")
    for command in (("sync",), ("status",), ("db", "check"), ("db", "upgrade")):
        ended = headrace(*command)
        assert ended.code in {1, 2}
        assert "is no SQLite database" in line(ended.err)


def test_a_control_database_that_cannot_be_made_is_a_line(
    headrace: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_CONTROL_URL", "sqlite:////proc/x/control.db")
    ended = headrace("sync")
    assert ended.code == 2
    assert "/proc/x cannot be made" in line(ended.err)


def test_init_needs_a_directory(headrace: Command, place: Path) -> None:
    Path("o.txt").touch()
    for arguments in (("o.txt",), ("o.txt", "--example"), ("/proc/x",), ("o.txt/inside",)):
        ended = headrace("init", *arguments)
        assert ended.code == 2
        assert "directory" in line(ended.err)
    assert list(place.iterdir()) == [place / "o.txt"]


def test_a_terminal_without_the_letters_gets_others(project: Path) -> None:
    change("sources/app.db", "UPDATE users SET name = 'Zoë', account_id = NULL WHERE id = 12")
    environ = {"PATH": os.environ["PATH"], "PYTHONIOENCODING": "ascii"}
    if "PYTHONPATH" in os.environ:
        environ["PYTHONPATH"] = os.environ["PYTHONPATH"]
    subprocess.run([HEADRACE, "sync"], check=True, capture_output=True, env=environ)
    for arguments in (["records", "users", "12"], ["explain", "users", "12"]):
        shown = subprocess.run([HEADRACE, *arguments], capture_output=True, text=True, env=environ)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "Zo?" in shown.stdout
    told = subprocess.run(
        [HEADRACE, "records", "users", "12", "--json"], capture_output=True, text=True, env=environ
    )
    assert json.loads(told.stdout)[0]["name"] == "Zoë"


# --- the wrong directory ------------------------------------------------------------------------


def test_no_command_leaves_anything_in_the_wrong_directory(headrace: Command, place: Path) -> None:
    for command in (("status",), ("runs",), ("rejected", "list"), ("db", "check"), ("plan",), ("up",)):
        assert headrace(*command).code in {1, 2}
    assert list(place.iterdir()) == []


def test_a_directory_of_definitions_that_is_not_there_is_told(headrace: Command, project: Path) -> None:
    for command in (("status",), ("runs",), ("records", "users"), ("db", "check"), ("db", "upgrade")):
        ended = headrace(*command, "--config", "nowhere")
        assert ended.code == 2
        assert line(ended.err).startswith("nowhere: there is no such directory")
        assert headrace(*command, "--config", "config").code == 0


def test_an_empty_control_database_has_nothing_applied(headrace: Command, place: Path) -> None:
    Path(".headrace").mkdir()
    Path(".headrace/control.db").touch()
    for command in (("status",), ("runs",), ("rejected", "list"), ("records", "users")):
        ended = headrace(*command)
        assert (ended.code, line(ended.err).partition(":")[0]) == (2, "nothing is applied yet")


def test_a_control_database_of_a_newer_version_says_what_to_update(headrace: Command, project: Path) -> None:
    change(".headrace/control.db", "UPDATE alembic_version SET version_num = '9999'")
    assert "update Headrace" in line(headrace("sync").err)


# --- names that nobody knows --------------------------------------------------------------------


def test_a_filter_of_something_unknown_is_no_empty_result(headrace: Command, project: Path) -> None:
    for command, meant in (
        (("runs", "--source", "user"), "users"),
        (("records", "users", "--customer", "acm"), "acme"),
        (("explain", "users", "12", "--customer", "acm"), "acme"),
    ):
        ended = headrace(*command)
        assert (ended.code, ended.out) == (2, "")
        assert f'did you mean "{meant}"?' in line(ended.err)


def test_a_record_that_is_not_there_fails_in_every_form(headrace: Command, project: Path) -> None:
    for command in ("records", "explain"):
        assert headrace(command, "users", "9999").code == 1
        told = headrace(command, "users", "9999", "--json")
        assert (told.code, told.json) == (1, [])
    assert headrace("records", "users", "--customer", "acme", "--json").code == 0


def test_the_parts_of_a_key_are_told_by_name(headrace: Command, project: Path) -> None:
    assert line(headrace("records", "users", "1", "2").err) == (
        "the key of users is user_id: give one value, not 2 [configuration_invalid]"
    )


# --- definitions --------------------------------------------------------------------------------


def test_an_empty_file_is_called_empty(headrace: Command, project: Path) -> None:
    Path("config/apps/app_db.json").write_text(" \n")
    first = headrace("validate").err.splitlines()[0]
    assert first.startswith("config/apps/app_db.json: is empty; write one JSON object")


def test_a_shell_s_reference_is_mended(headrace: Command, project: Path) -> None:
    define("apps/app_db", type="postgres", url="$MY_DB_URL")
    assert line(headrace("validate").err) == (
        'config/apps/app_db.json:url: "$MY_DB_URL" is no reference to a secret; write "${MY_DB_URL}"'
        " [definition_invalid]"
    )


# --- empty projects -----------------------------------------------------------------------------


def test_a_project_without_sources_says_what_comes_next(headrace: Command, place: Path) -> None:
    started = headrace("init")
    assert "export MY_DB_URL=" in started.out
    for command in ("sync", "status"):
        ended = headrace(command)
        assert (ended.code, line(ended.out)) == (
            0,
            "No source is defined yet: headrace discover APP shows what a database offers.",
        )
    assert line(headrace("runs").out) == "There are no runs yet."
