"""Sources, runs and triggers over HTTP: those of the apps of the token's visibility group, and no others."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.control.audit import SqlAudit
from headrace.definition.loader import load
from headrace.domain.vocabulary import DataSourceId, FeedId, ModelId
from headrace.domain.webhook_signature import signed_headers
from headrace.errors import ConfigurationError
from headrace.metrics import REGISTRY
from headrace.web.app import create_app
from tests.integration.web_client import WebClient
from tests.integration.web_site import Site, site_of

GROUPS = {"production": "prod", "testing": "test"}

OLD, NEW = b"o" * 24, b"n" * 64
SECRETS: dict[str, Any] = {
    "trigger_secrets": ",".join(f"whsec_{base64.b64encode(key).decode()}" for key in (OLD, NEW)),
    "http_max_body_bytes": 2000,
}
HOOK = "/hooks/v1/sources/users/trigger"


def _app(name: str, group: str) -> dict[str, Any]:
    url = f"sqlite:///${{SITE}}/{name}.db"
    return {"name": name, "type": "sqlite", "url": url, "customer": name, "visibility_group": group}


def _data_source(name: str, group: str) -> dict[str, Any]:
    url = f"sqlite:///${{SITE}}/{name}-store.db"
    groups = {"visibility_groups": [group], "default_for": [group]}
    return {"nickname": name, "schema": "s", **groups, "type": "sqlite", "url": url}


def _source(model: str, app: str) -> dict[str, Any]:
    types = {"id": "integer", "part": "string"}
    return {
        "name": model,
        "model": model,
        "primary": True,
        "app": app,
        "table": "users",
        "key": ["id", "part"],
        "schedule": {"cursor": "updated_at", "clock": "database"},
        "properties": {name: {"type": type_, "column": name} for name, type_ in types.items()},
    }


DEFINITIONS: dict[str, Any] = {
    "schemas/s": {"name": "S"},
    **{f"visibility_groups/{group}": {"name": group} for group in GROUPS},
    **{f"apps/{name}": _app(name, group) for group, name in GROUPS.items()},
    **{f"data_sources/{name}": _data_source(name, group) for group, name in GROUPS.items()},
    **{f"models/{name}": {"name": name, "schema": "s"} for name in ("users", "bills", "secrets")},
    "sources/users": _source("users", "prod"),
    "sources/bills": _source("bills", "prod"),
    "sources/secrets": _source("secrets", "test"),
}


class Heard:
    """Implements `ports.Nudge`."""

    def __init__(self) -> None:
        self.polls: list[FeedId] = []

    def poll(self, feed_id: FeedId) -> None:
        self.polls.append(feed_id)

    def merge(self, data_source_id: DataSourceId, model: ModelId) -> None: ...

    def reconcile(self, feed_id: FeedId, *, full: bool) -> None: ...


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("SITE", str(tmp_path))
    for name, body in DEFINITIONS.items():
        file = tmp_path / "config" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(body))
    for name in GROUPS.values():
        with closing(sqlite3.connect(tmp_path / f"{name}.db")) as database, database:
            columns = "id INTEGER NOT NULL, part TEXT NOT NULL, updated_at TEXT, PRIMARY KEY (id, part)"
            database.execute(f"CREATE TABLE users ({columns})")
            database.execute("INSERT INTO users VALUES (1, 'a', '2024-01-01 00:00:00')")
    with site_of(tmp_path, config_dir=tmp_path / "config", **SECRETS) as site:
        site.application.apply(load(tmp_path / "config", {"SITE": str(tmp_path)}))
        yield site


@pytest.fixture
def staff(site: Site) -> Iterator[WebClient]:
    with site.client() as client:
        yield client


def polled(site: Site) -> None:
    for feed in site.application.status.feed_status():
        assert site.application.poll(feed.feed_id).error is None


def feed_of(site: Site, source: str) -> FeedId:
    return next(f.feed_id for f in site.application.status.feed_status() if f.source_id == source)


def test_a_token_sees_the_sources_of_its_group_alone(site: Site, staff: WebClient) -> None:
    polled(site)
    answer = staff.get("/api/v1/sources").json()
    assert [source["id"] for source in answer["items"]] == ["bills", "users"]
    assert answer["next"] is None
    assert answer["items"][1]["schema"] == "s"
    (feed,) = answer["items"][1]["feeds"]
    assert (feed["app"], feed["class"], feed["paused"], feed["pending_batches"]) == (
        "prod",
        "exact",
        False,
        1,
    )
    with site.client("testing") as other:
        assert [source["id"] for source in other.get("/api/v1/sources").json()["items"]] == ["secrets"]


def test_sources_come_in_pages(staff: WebClient) -> None:
    first = staff.get("/api/v1/sources?limit=1").json()
    second = staff.get("/api/v1/sources", params={"limit": 1, "after": first["next"]}).json()
    assert [first["items"][0]["id"], second["items"][0]["id"]] == ["bills", "users"]
    assert second["next"] is None


def test_runs_come_in_pages_the_newest_first_of_the_group_alone(site: Site, staff: WebClient) -> None:
    polled(site)
    site.application.reconcile(feed_of(site, "users"), full=False)
    found, after = [], {}
    while True:
        page = staff.get("/api/v1/runs", params={"limit": 1, **after}).json()
        found += page["items"]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert {run["source"] for run in found} == {"bills", "users"}
    assert [run["started_at"] for run in found] == sorted((run["started_at"] for run in found), reverse=True)
    assert len({run["id"] for run in found}) == len(found) >= 2
    assert staff.get("/api/v1/runs?source=secrets").json() == {"items": [], "next": None}
    assert {run["source"] for run in staff.get("/api/v1/runs?source=bills").json()["items"]} == {"bills"}


@pytest.mark.parametrize("after", ["x", "%%%", "WyJhIiwgMV0", "WyIyMDI0LTAxLTAxIiwgImEiXQ", "é"])
def test_a_cursor_that_is_none_is_refused(staff: WebClient, after: str) -> None:
    answer = staff.get("/api/v1/runs", params={"after": after})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_trigger_asks_for_a_poll_nudges_and_is_audited(site: Site, staff: WebClient) -> None:
    polled(site)
    heard = Heard()
    with site.application.nudging(heard):
        answer = staff.post("/api/v1/sources/users/trigger")
    assert (answer.status_code, answer.json()) == (202, {"source": "users", "apps": ["prod"], "keys": 0})
    assert heard.polls == [feed_of(site, "users")]
    line = SqlAudit(site.application.engine).list(limit=1).items[0].line
    assert (line.action, line.visibility_group) == ("source.trigger", "production")


def test_a_trigger_by_keys_fetches_exactly_these(site: Site, staff: WebClient) -> None:
    polled(site)
    answer = staff.post(
        "/api/v1/sources/users/trigger", json={"app": "prod", "keys": [["1", "a"], ["2", "b"]]}
    )
    assert (answer.status_code, answer.json()["keys"]) == (202, 2)
    asked = site.application.feeds.key_requests(feed_of(site, "users"), limit=10)
    assert [request.key for request in asked] == [("1", "a"), ("2", "b")]
    assert staff.post("/api/v1/sources/users/trigger", json={"keys": [[3, "c"]]}).status_code == 202


def test_a_trigger_for_a_customer_reads_the_apps_that_may_have_its_rows(site: Site, staff: WebClient) -> None:
    body = {"version": 1, "source": "users", "customer": "prod"}
    assert staff.post("/api/v1/sources/users/trigger", json=body).json()["apps"] == ["prod"]
    line = SqlAudit(site.application.engine).list(limit=1).items[0].line
    assert (line.customer, line.detail["apps"]) == ("prod", ["prod"])
    answer = staff.post("/api/v1/sources/users/trigger", json={"customer": "test"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_who_triggered_is_told_and_what_could_not_be_met(site: Site, staff: WebClient) -> None:
    staff.post("/api/v1/sources/users/trigger")
    staff.post("/api/v1/sources/nobody/trigger")
    rejected, accepted = site.application.triggers.told(limit=10)
    assert accepted.asked_by == rejected.asked_by
    assert accepted.asked_by.startswith("token:")
    assert (accepted.source_id, accepted.outcome) == ("users", "accepted")
    assert (rejected.source_id, rejected.outcome) == ("nobody", "rejected")


@pytest.mark.parametrize("body", [
    {"keys": [["1"]]}, {"keys": [["x", "a"]]}, {"keys": []}, {"keys": [[1.5, "a"]]},
    {"keys": [["1", "a\x00"]]}, {"customer": ""}, {"app": "Prod!"}, {"source": "bills"},
    {"version": 2}, {"rows": []},
])  # fmt: skip
def test_a_trigger_that_no_row_can_answer_is_refused_whole(site: Site, staff: WebClient, body: Any) -> None:
    answer = staff.post("/api/v1/sources/users/trigger", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert site.application.feeds.key_requests(feed_of(site, "users"), limit=10) == ()


@pytest.mark.parametrize(
    ("source", "body"),
    [("secrets", None), ("nobody", None), ("no-id " + "x" * 100, None), ("users", {"app": "test"})],
)
def test_a_source_of_another_group_is_as_one_that_is_not_there(
    staff: WebClient, source: str, body: Any
) -> None:
    answer = staff.post(f"/api/v1/sources/{source}/trigger", json=body)
    assert answer.status_code == 404
    assert answer.json()["detail"] == "there is no such source, or it is not read from such an app"


def test_a_paused_source_is_not_triggered(site: Site, staff: WebClient) -> None:
    site.application.commands.pause("users", reason="the shop is being migrated")
    answer = staff.post("/api/v1/sources/users/trigger")
    assert (answer.status_code, answer.json()["code"]) == (409, "source_paused")
    assert "the shop is being migrated" in answer.json()["detail"]


# --- signed, without an API token ---------------------------------------------------------------


@pytest.fixture
def outsider(site: Site) -> Iterator[WebClient]:
    with WebClient(site.api) as client:
        yield client


def signed(
    client: WebClient, body: bytes = b"", *, key: bytes = NEW, path: str = HOOK, **changed: str
) -> httpx.Response:
    headers = signed_headers(key, id_="msg_1", at_s=int(time.time()), body=body)
    return client.post(
        path, content=body, headers=headers | {k.replace("_", "-"): v for k, v in changed.items()}
    )


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_whoever_signs_needs_no_token_and_any_of_the_secrets_holds(site: Site, outsider: WebClient) -> None:
    heard = Heard()
    with site.application.nudging(heard):
        for key in (OLD, NEW):
            answer = signed(outsider, key=key)
            assert (answer.status_code, answer.json()["apps"]) == (202, ["prod"])
    assert heard.polls == [feed_of(site, "users")] * 2
    (line,) = site.application.triggers.told(limit=9)
    assert (line.asked_by, line.source_id, line.requests) == ("webhook", "users", 2)


def test_a_signed_trigger_has_the_body_of_the_message(site: Site, outsider: WebClient) -> None:
    body = {"source": "users", "app": "prod", "customer": "prod", "keys": [["1", "a"], [2, "b"]]}
    answer = signed(outsider, json.dumps(body).encode())
    assert (answer.status_code, answer.json()["keys"]) == (202, 2)
    asked = site.application.feeds.key_requests(feed_of(site, "users"), limit=10)
    assert [request.key for request in asked] == [("1", "a"), ("2", "b")]


def test_a_signed_trigger_is_of_any_visibility_group(outsider: WebClient) -> None:
    assert signed(outsider, path="/hooks/v1/sources/secrets/trigger").json()["apps"] == ["test"]


def test_what_nobody_signed_is_refused_and_asks_for_nothing(site: Site, outsider: WebClient) -> None:
    late = str(int(time.time()) - 301)
    answers = [
        outsider.post(HOOK),
        signed(outsider, key=b"x" * 32),
        signed(outsider, webhook_id="msg_2"),
        signed(outsider, webhook_signature=""),
        outsider.post(HOOK, headers=signed_headers(NEW, id_="msg_1", at_s=int(late), body=b"")),
        outsider.post(
            HOOK, content=b"{}", headers=signed_headers(NEW, id_="a", at_s=int(time.time()), body=b"")
        ),
        outsider.post(HOOK, headers={"Authorization": f"Bearer {site.staff_token()}"}),
    ]
    assert {code_of(answer) for answer in answers} == {(401, "unauthenticated")}
    assert site.application.triggers.told(limit=9) == []


def test_what_is_signed_and_wrong_is_told_as_to_staff(outsider: WebClient) -> None:
    for body, refused in (
        (b"{", (422, "invalid_request")),
        (b"\xff", (422, "invalid_request")),
        (b'{"keys": [["x", "a"]]}', (422, "invalid_request")),
        (b'{"source": "bills"}', (422, "invalid_request")),
        (b'{"customer": "nobody"}', (404, "not_found")),
        (b" " * 2001, (413, "request_too_large")),
    ):
        assert code_of(signed(outsider, body)) == refused, body
    assert code_of(signed(outsider, path="/hooks/v1/sources/nobody/trigger")) == (404, "not_found")


def test_a_body_without_an_announced_length_is_read_no_further_than_is_taken(outsider: WebClient) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * 1000

    headers = signed_headers(NEW, id_="msg_1", at_s=int(time.time()), body=b"")
    assert code_of(outsider.post(HOOK, content=endless(), headers=headers)) == (413, "request_too_large")
    assert code_of(outsider.post(HOOK, content=endless())) == (401, "unauthenticated")


def test_a_signed_trigger_that_cannot_be_met_is_counted(outsider: WebClient) -> None:
    def rejected() -> float:
        return REGISTRY.get_sample_value("headrace_triggers_total", {"outcome": "rejected"}) or 0.0

    before = rejected()
    signed(outsider, path="/hooks/v1/sources/nobody/trigger")
    assert rejected() == before + 1


def test_a_source_is_triggered_by_signatures_only_so_often(site: Site) -> None:
    site.application.settings = site.application.settings.model_copy(update={"http_rate": 1, "http_burst": 2})
    with WebClient(create_app(site.application)) as outsider:
        statuses = [signed(outsider).status_code for _ in range(3)]
        assert statuses == [202, 202, 429]
        assert signed(outsider, path="/hooks/v1/sources/bills/trigger").status_code == 202


def test_a_paused_source_refuses_a_signed_trigger_too(site: Site, outsider: WebClient) -> None:
    site.application.commands.pause("users", reason="lunch")
    assert code_of(signed(outsider)) == (409, "source_paused")


def test_without_secrets_nobody_triggers_by_signature(site: Site) -> None:
    site.application.settings = site.application.settings.model_copy(update={"trigger_secrets": ()})
    with WebClient(create_app(site.application)) as outsider:
        answer = signed(outsider)
    assert code_of(answer) == (404, "not_found")
    assert "HEADRACE_TRIGGER_SECRETS" in answer.json()["detail"]


def test_a_secret_that_is_none_is_told_by_its_place(tmp_path: Path) -> None:
    secrets = SECRETS["trigger_secrets"] + ",whsec_c2hvcnQ=,hunter2"
    with pytest.raises(ConfigurationError) as caught, site_of(tmp_path, trigger_secrets=secrets):
        pass
    (fault,) = caught.value.faults
    assert (fault.file, "number 3, 4" in fault.message) == ("HEADRACE_TRIGGER_SECRETS", True)
    assert "hunter2" not in str(caught.value)
