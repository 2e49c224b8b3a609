"""What `doctor`, `validate --connect` and `status` say of what is connected and of what feeds promise."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from tests.integration.command import Command, change, define


def found(headrace: Command, code: int) -> dict[str, dict[str, Any]]:
    """What doctor found, by the name of the check."""
    ended = headrace("doctor", "--json")
    assert ended.code == code, ended.out
    return {check.pop("check"): check for check in ended.json}


def test_doctor_is_content_with_a_project_that_was_applied(headrace: Command, project: Path) -> None:
    assert headrace("apply").code == 0
    checks = found(headrace, 0)
    assert {check["state"] for check in checks.values()} == {"ok"}
    assert "clock of app app_db" in checks
    assert checks["feed users of app app_db"]["found"] == "exact"


def test_doctor_makes_no_control_database_and_says_how_to(headrace: Command, project: Path) -> None:
    rmtree(".headrace", ignore_errors=True)
    checks = found(headrace, 1)
    assert checks["control database"] == {
        "state": "fail",
        "found": "there is none",
        "mend": "run headrace apply",
    }
    assert not Path(".headrace/control.db").exists()


def test_doctor_finds_what_is_broken_and_goes_on(headrace: Command, project: Path) -> None:
    assert headrace("apply").code == 0
    Path("sources/shop.db").rename("sources/elsewhere.db")
    change("sources/app.db", "UPDATE users SET updated_at = 'yesterday'")
    checks = found(headrace, 1)
    broken = [name for name, check in checks.items() if check["state"] == "fail"]
    assert broken
    assert all("purchases" in name or "refunds" in name or "shop_db" in name for name in broken)
    assert all(checks[name]["mend"] for name in broken)
    feed = checks["feed users of app app_db"]
    assert feed["state"] == "warn"
    assert feed["found"].startswith("eventual: the cursor updated_at holds no times")


def test_doctor_tells_faults_of_definitions(headrace: Command, project: Path) -> None:
    define("sources/users", app="nowhere")
    checks = found(headrace, 1)
    assert "nowhere" in checks["definitions"]["found"]


def test_doctor_tells_a_broker_that_does_not_answer(
    headrace: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert headrace("apply").code == 0
    monkeypatch.setenv("HEADRACE_BROKER_URL", "redis://127.0.0.1:9")
    assert found(headrace, 1)["broker"]["state"] == "fail"


@pytest.mark.parametrize(
    ("clock", "told"),
    [
        ({"skew": "5s"}, "bounded: complete while the clock that sets the cursor is within 5s of the"),
        ("business", "eventual: the cursor is a date of the business"),
    ],
)
def test_the_class_of_a_feed_is_shown_with_its_reason(
    headrace: Command, project: Path, clock: Any, told: str
) -> None:
    define("sources/users", schedule={"every": "1m", "cursor": "updated_at", "clock": clock})
    assert f"feed users of app app_db is {told}" in headrace("validate", "--connect").out
    assert headrace("sync").code == 0
    feed_class, reason = told.split(": ")
    (users,) = (f for f in headrace("status", "--json").json if f["source"] == "users")
    assert users["class"] == feed_class
    assert users["class_reason"].startswith(reason)
    assert f"users: {told}" in headrace("status").out
