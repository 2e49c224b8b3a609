"""What `doctor`, `validate --connect` and `status` say of what is connected and of what feeds promise."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.acceptance.project import execute
from tests.integration.command import Command, change, define
from tests.integration.shop import Shop


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


@pytest.fixture(params=["postgres", "mysql"])
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Shop, str]]:
    """A shop that is read by a user of its own, and how the statements of rights call that user."""
    url, role = request.getfixturevalue(f"{request.param}_database"), f"reader_{uuid.uuid4().hex[:8]}"
    with Shop.opened(request.param, url, tmp_path / "shop") as opened:
        monkeypatch.setenv("HEADRACE_CONFIG_DIR", str(opened.root / "config"))
        monkeypatch.setenv("HEADRACE_CONTROL_URL", f"sqlite:///{opened.root}/control.db")
        user = role if request.param == "postgres" else f"{role}@'%'"
        execute(url, f"CREATE ROLE {role} LOGIN" if request.param == "postgres" else f"CREATE USER {user}")
        execute(url, f"GRANT SELECT ON users TO {user}", f"GRANT SELECT ON orders TO {user}")
        parts = urlsplit(url)
        own = parts._replace(netloc=f"{role}@{parts.hostname}:{parts.port}").geturl()
        opened.define("apps/app", {"name": "App", "type": request.param, "url": own})
        yield opened, user
        if request.param == "postgres":
            execute(url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
        else:
            execute(url, f"DROP USER {user}")


def test_a_right_that_was_taken_away_is_found_by_doctor(headrace: Command, shop: tuple[Shop, str]) -> None:
    opened, user = shop
    assert headrace("sync").code == 0
    state = {name: check["state"] for name, check in all_found(headrace).items() if name.startswith("feed")}
    assert set(state.values()) <= {"ok", "warn"}
    opened.execute(f"REVOKE SELECT ON users FROM {user}")
    checks = all_found(headrace)
    broken = {name: check for name, check in checks.items() if check["state"] == "fail"}
    assert "feed orders of app app" not in broken
    assert all("users" in name for name in broken), broken
    feed = broken["feed users of app app"]
    assert "GRANT SELECT" in feed["found"]
    assert "start it" not in feed["mend"]


@pytest.mark.parametrize("shop", ["postgres"], indirect=True)
def test_doctor_tells_what_ended_the_last_poll(headrace: Command, shop: tuple[Shop, str]) -> None:
    opened, user = shop
    assert headrace("sync").code == 0
    opened.execute(f"REVOKE SELECT ON users FROM {user}")
    assert headrace("sync").code == 1
    opened.execute(f"GRANT SELECT ON users TO {user}")
    feed = all_found(headrace)["feed users of app app"]
    assert feed["state"] == "warn"
    assert "its last poll failed: " in feed["found"]
    assert "GRANT SELECT" in feed["found"]
    opened.execute("ALTER TABLE users RENAME COLUMN age TO years")
    assert headrace("sync").code == 1
    checks = all_found(headrace)
    feed = checks["feed users of app app"]
    assert feed["state"] == "fail"
    assert "age" in feed["found"]
    assert "correct the app's url" not in feed["mend"]
    assert_named_by_kind(checks)


def assert_named_by_kind(checks: dict[str, dict[str, Any]]) -> None:
    """What is told of a definition begins with what it defines."""
    told = [name.split() for name in checks if ".json" in name]
    assert told
    for kind, file in told:
        assert file.startswith(f"config/{kind}s/") or f"/config/{kind}s/" in file


def all_found(headrace: Command) -> dict[str, dict[str, Any]]:
    """What doctor found, well or not."""
    return {check.pop("check"): check for check in headrace("doctor", "--json").json}


def test_what_is_at_fault_is_called_what_it_is(headrace: Command, project: Path) -> None:
    change("sources/app.db", "ALTER TABLE users RENAME COLUMN name TO called")
    checks = all_found(headrace)
    assert checks["source config/sources/users.json"]["state"] == "fail"
    assert_named_by_kind(checks)
