"""What `doctor`, `validate --connect` and `status` say of what is connected and of what feeds promise."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from headrace.errors import SourceUnavailableError
from headrace.sources.pool import ReaderPool
from tests.acceptance.project import execute
from tests.integration.command import Command, change, define
from tests.integration.shop import Shop
from tests.servers import private_redis
from tests.unit.test_error_codes import CODES


def found(headrace: Command, code: int) -> dict[str, dict[str, Any]]:
    """What doctor found, by where; of one place the worst."""
    ended = headrace("doctor", "--json")
    assert ended.code == code, ended.out
    return by_where(ended.json)


def by_where(findings: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    for finding in findings:
        assert list(finding) == ["severity", "code", "where", "what", "remedy"]
        assert finding["severity"] == "ok" or finding["code"]
        assert finding["code"] is None or (finding["code"] in CODES and finding["remedy"])
    return {finding["where"]: finding for finding in reversed(findings)}


def codes_of(headrace: Command, where: str) -> set[str]:
    return {f["code"] for f in headrace("doctor", "--json").json if f["where"] == where}


def test_doctor_is_content_with_a_project_that_was_synced(headrace: Command, project: Path) -> None:
    assert headrace("sync").code == 0
    findings = found(headrace, 0)
    assert {finding["severity"] for finding in findings.values()} == {"ok"}
    assert "clock of app app_db" in findings
    assert findings["feed users of app app_db"]["what"] == "exact"
    told = headrace("doctor")
    assert "ok       feed users of app app_db: exact" in told.out
    assert told.out.endswith(f"All is well, of {len(findings)} findings.\n")


def test_doctor_makes_no_control_database_and_says_how_to(headrace: Command, project: Path) -> None:
    rmtree(".headrace", ignore_errors=True)
    assert found(headrace, 1)["control database"] == {
        "severity": "error",
        "code": "control_missing",
        "where": "control database",
        "what": "there is none",
        "remedy": "headrace apply makes it",
    }
    assert not Path(".headrace/control.db").exists()


def test_doctor_finds_what_is_broken_and_goes_on(headrace: Command, project: Path) -> None:
    assert headrace("sync").code == 0
    Path("sources/shop.db").rename("sources/elsewhere.db")
    change("sources/app.db", "UPDATE users SET updated_at = 'yesterday'")
    findings = found(headrace, 1)
    broken = [where for where, finding in findings.items() if finding["severity"] == "error"]
    assert broken
    assert all("purchases" in where or "refunds" in where or "shop_db" in where for where in broken)
    feed = findings["feed users of app app_db"]
    assert (feed["severity"], feed["code"]) == ("warning", "feed_eventual")
    assert feed["what"].startswith("eventual: the cursor updated_at holds no times")


def test_faults_of_definitions_are_findings_each_and_exit_with_2(headrace: Command, project: Path) -> None:
    define("sources/users", app="nowhere")
    define("sources/refunds", model="nothing")
    ended = headrace("doctor", "--json")
    assert ended.code == 2
    wrong = [f for f in ended.json if f["where"] == "definitions"]
    assert {f["code"] for f in wrong} == {"definition_invalid"}
    assert any("nowhere" in f["what"] for f in wrong)
    assert any("nothing" in f["what"] for f in wrong)
    assert any(f["where"] == "control database" and f["severity"] == "ok" for f in ended.json)


def test_warnings_fail_only_strictly(headrace: Command, project: Path) -> None:
    define("sources/users", schedule={"every": "1m", "cursor": "updated_at", "clock": "business"})
    assert headrace("sync").code == 0
    assert headrace("doctor").code == 0
    assert headrace("doctor", "--strict").code == 1


def test_doctor_tells_a_broker_that_does_not_answer(
    headrace: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert headrace("apply").code == 0
    monkeypatch.setenv("HEADRACE_BROKER_URL", "redis://127.0.0.1:9")
    broker = found(headrace, 1)["broker"]
    assert (broker["severity"], broker["code"]) == ("error", "broker_unavailable")


@pytest.mark.services
def test_doctor_tells_a_redis_that_evicts_or_is_shared(
    headrace: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with private_redis() as server, redis.Redis.from_url(server.url) as client:
        monkeypatch.setenv("HEADRACE_BROKER_URL", server.url)
        assert by_where(headrace("doctor", "--json").json)["broker"]["severity"] == "ok"
        client.set("session:42", "somebody else's")
        shared = by_where(headrace("doctor", "--json").json)["broker"]
        assert (shared["severity"], shared["code"]) == ("warning", "broker_shared")
        client.config_set("maxmemory-policy", "allkeys-lru")
        evicting = by_where(headrace("doctor", "--json").json)["broker"]
        assert (evicting["severity"], evicting["code"]) == ("error", "broker_evicts")


def test_what_nobody_works_on_is_found(headrace: Command, project: Path) -> None:
    assert headrace("sync").code == 0
    change(".headrace/control.db", "UPDATE feed SET next_due = '2020-01-01T00:00:00.000Z'")
    overdue = found(headrace, 0)["feeds"]
    assert (overdue["code"], overdue["severity"]) == ("feed_overdue", "warning")
    lease = "lease_id = 'x', lease_until = '2020-01-01T00:00:00.000Z'"
    change(".headrace/control.db", f"UPDATE feed SET {lease} WHERE source_id = 'users'")
    assert codes_of(headrace, "feed users of app app_db") == {"lease_expired"}
    change(".headrace/control.db", "UPDATE run SET started_at = '2020-01-01T00:00:00.000Z'")
    assert codes_of(headrace, "control database") == {None, "retention_behind"}


def test_rejected_and_waiting_rows_and_lateness_are_found(headrace: Command, project: Path) -> None:
    define("sources/purchases", unknown_customers="hold")
    schedule = {"every": "1m", "cursor": "updated_at", "clock": "database", "freshness": "1s"}
    define("sources/users", schedule=schedule)
    change("sources/shop.db", "UPDATE purchases SET tenant = 'nobody' WHERE id = 7")
    assert headrace("sync").code == 0
    assert "rows_rejected" in codes_of(headrace, "feed purchases of app shop_db")
    change(
        ".headrace/control.db",
        "UPDATE feed SET last_success_at = '2020-01-01T00:00:00.000Z' WHERE source_id = 'users'",
    )
    change(
        ".headrace/control.db",
        "UPDATE batch SET state = 'pending', merged_at = NULL, journalled_at = '2020-01-01T00:00:00.000Z'",
    )
    assert {"feed_late", "merge_behind"} <= codes_of(headrace, "feed users of app app_db")


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


@pytest.mark.parametrize("shop", ["postgres"], indirect=True)
def test_a_feed_that_failed_so_often_is_paused_and_all_say_what_to_do(
    headrace: Command, shop: tuple[Shop, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, user = shop
    monkeypatch.setenv("HEADRACE_PAUSE_AFTER_FAILURES", "2")
    assert headrace("sync").code == 0
    opened.execute(f"REVOKE SELECT ON users FROM {user}")
    assert [headrace("sync").code for _ in range(2)] == [1, 1]

    (users,) = (feed for feed in headrace("status", "--json").json if feed["source"] == "users")
    assert (users["state"], users["error_code"]) == ("paused", "source_rights_missing")
    assert users["paused_since"] is not None
    told = headrace("status").out
    assert re.search(r"users: paused \d+s ago, headrace resume users: 2 polls in a row failed, ", told)
    finding = all_found(headrace)["feed users of app app"]
    assert (finding["severity"], finding["code"]) == ("error", "source_rights_missing")
    assert "headrace resume users" in finding["remedy"]

    opened.execute(f"GRANT SELECT ON users TO {user}")
    assert headrace("resume", "users").code == 0
    assert headrace("sync").code == 0
    (users,) = (feed for feed in headrace("status", "--json").json if feed["source"] == "users")
    assert (users["state"], users["paused_since"]) == ("ok", None)


def test_a_right_that_was_taken_away_is_found_by_doctor(headrace: Command, shop: tuple[Shop, str]) -> None:
    opened, user = shop
    assert headrace("sync").code == 0
    severe = {n: f["severity"] for n, f in all_found(headrace).items() if n.startswith("feed")}
    assert set(severe.values()) <= {"ok", "warning"}
    opened.execute(f"REVOKE SELECT ON users FROM {user}")
    checks = all_found(headrace)
    broken = {name: check for name, check in checks.items() if check["severity"] == "error"}
    assert "feed orders of app app" not in broken
    assert all("users" in name for name in broken), broken
    feed = broken["feed users of app app"]
    assert "GRANT SELECT" in feed["what"]
    assert "start it" not in feed["remedy"]


@pytest.mark.parametrize("shop", ["postgres"], indirect=True)
def test_doctor_tells_what_ended_the_last_poll(headrace: Command, shop: tuple[Shop, str]) -> None:
    opened, user = shop
    assert headrace("sync").code == 0
    opened.execute(f"REVOKE SELECT ON users FROM {user}")
    assert headrace("sync").code == 1
    opened.execute(f"GRANT SELECT ON users TO {user}")
    feed = all_found(headrace)["feed users of app app"]
    assert (feed["severity"], feed["code"]) == ("warning", "source_rights_missing")
    assert "its last poll failed: " in feed["what"]
    assert "GRANT SELECT" in feed["what"]
    opened.execute("ALTER TABLE users RENAME COLUMN age TO years")
    assert headrace("sync").code == 1
    checks = all_found(headrace)
    feed = checks["feed users of app app"]
    assert feed["severity"] == "error"
    assert "age" in feed["what"]
    assert "correct the app's url" not in feed["remedy"]
    assert_named_by_kind(checks)


def assert_named_by_kind(checks: dict[str, dict[str, Any]]) -> None:
    """What is told of a definition begins with what it defines."""
    told = [name.split() for name in checks if ".json" in name]
    assert told
    for kind, file in told:
        assert file.startswith(f"config/{kind}s/") or f"/config/{kind}s/" in file


def all_found(headrace: Command) -> dict[str, dict[str, Any]]:
    """What doctor found, well or not."""
    return by_where(headrace("doctor", "--json").json)


def test_what_is_at_fault_is_called_what_it_is(headrace: Command, project: Path) -> None:
    change("sources/app.db", "ALTER TABLE users RENAME COLUMN name TO called")
    checks = all_found(headrace)
    assert checks["source config/sources/users.json"]["severity"] == "error"
    assert_named_by_kind(checks)


def test_a_source_that_is_read_slowly_or_by_the_wrong_clock_says_how_to_mend_it(
    headrace: Command, shop: tuple[Shop, str]
) -> None:
    """Indexes, null cursors, time zones, and rows of the future."""
    opened, _ = shop
    naive = {"postgres": "timestamp", "mysql": "datetime(6)"}[opened.kind]
    alter = {"postgres": "ALTER updated_at TYPE timestamp, ALTER updated_at DROP NOT NULL",
             "mysql": "MODIFY updated_at datetime(6) NULL"}[opened.kind]  # fmt: skip
    opened.execute(f"ALTER TABLE users {alter}")
    assert headrace("sync").code in {0, 1}
    missing = next(f for f in of_users(headrace) if f["code"] == "index_missing")
    assert "CREATE INDEX" in missing["remedy"]
    opened.execute(missing["remedy"].replace("CONCURRENTLY ", ""))
    assert "index_missing" not in {f["code"] for f in of_users(headrace)}
    opened.execute("UPDATE users SET updated_at = NULL WHERE id = 1")
    assert "cursor_nulls" in {f["code"] for f in of_users(headrace)}
    opened.execute(f"UPDATE users SET updated_at = {FUTURE[opened.kind]} WHERE id = 2")
    ahead = next(f for f in of_users(headrace) if f["code"] == "cursor_ahead")
    assert "time_zone" in ahead["remedy"]
    assert naive  # of which zone the values are, nobody has said


FUTURE = {"postgres": "now() + interval '2 hours'", "mysql": "NOW(6) + INTERVAL 2 HOUR"}


def of_users(headrace: Command) -> list[dict[str, Any]]:
    findings: list[dict[str, Any]] = headrace("doctor", "--json").json
    return [f for f in findings if f["where"] == "feed users of app app"]


@pytest.mark.parametrize("shop", ["postgres"], indirect=True)
def test_a_naive_cursor_in_a_database_of_another_zone_wants_its_zone(
    headrace: Command, shop: tuple[Shop, str]
) -> None:
    opened, _ = shop
    name = urlsplit(opened.url).path[1:]
    opened.execute(f"ALTER DATABASE {name} SET timezone = 'Europe/Berlin'")
    opened.execute("ALTER TABLE users ALTER updated_at TYPE timestamp")
    assumed = next(f for f in of_users(headrace) if f["code"] == "time_zone_assumed")
    assert '"time_zone": "Europe/Berlin"' in assumed["remedy"]
    source = opened.definition("sources/users")
    opened.define("sources/users", source | {"schedule": source["schedule"] | {"time_zone": "UTC"}})
    assert "time_zone_assumed" not in {f["code"] for f in of_users(headrace)}


@pytest.mark.parametrize("shop", ["postgres"], indirect=True)
def test_what_a_role_may_not_see_is_told_with_the_grant(headrace: Command, shop: tuple[Shop, str]) -> None:
    opened, role = shop
    headrace("sync")
    opened.execute("CREATE INDEX ON users (updated_at, id)")
    assert "transactions_hidden" in {f["code"] for f in of_users(headrace)}
    opened.execute(f"GRANT pg_read_all_stats TO {role}")
    assert "transactions_hidden" not in {f["code"] for f in of_users(headrace)}


@pytest.mark.services
def test_a_data_source_whose_role_lacks_rights_is_told_with_the_grant(
    headrace: Command, project: Path, postgres_database: str
) -> None:
    role = f"store_{uuid.uuid4().hex[:8]}"
    execute(postgres_database, f"CREATE ROLE {role} LOGIN", "CREATE SCHEMA headrace")
    parts = urlsplit(postgres_database)
    try:
        name = parts.path[1:]
        execute(
            postgres_database,
            f"GRANT USAGE, CREATE ON SCHEMA headrace TO {role}",
            f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC",
        )
        url = parts._replace(netloc=f"{role}@{parts.hostname}:{parts.port}").geturl()
        define("data_sources/main", type="postgres", url=url)
        assert headrace("apply").code == 0
        execute(postgres_database, f"REVOKE CREATE ON SCHEMA headrace FROM {role}")
        lacking = [f for f in headrace("doctor", "--json").json if f["where"] == "data source main"]
        assert {f["code"] for f in lacking} == {"store_misconfigured"}
        assert {f["remedy"] for f in lacking} == {
            "GRANT TEMPORARY ON DATABASE",
            "GRANT CREATE ON SCHEMA headrace",
        }
    finally:
        execute(postgres_database, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_an_app_that_is_away_is_waited_for_a_few_times_and_not_for_each_feed(
    headrace: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert headrace("sync").code == 0
    lent: list[str] = []
    original = ReaderPool.lend

    def lend(self: ReaderPool, app_id: Any) -> Any:
        lent.append(app_id)
        if app_id == "app_db":
            raise SourceUnavailableError("app_db: connection timeout expired")
        return original(self, app_id)

    monkeypatch.setattr(ReaderPool, "lend", lend)
    findings = found(headrace, 1)
    assert findings["feed purchases of app shop_db"]["severity"] == "ok"
    away = [w for w, f in findings.items() if f["code"] == "source_unavailable" and w.startswith("feed")]
    assert len(away) == 4
    assert lent.count("app_db") == 3
