"""Sources, runs and triggers over HTTP: those of the apps of the token's visibility group, and no others."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace.control.audit import SqlAudit
from headrace.definition.loader import load
from headrace.domain.vocabulary import DataSourceId, FeedId, ModelId
from tests.integration.web_client import WebClient
from tests.integration.web_site import Site, site_of

GROUPS = {"production": "prod", "testing": "test"}


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
    with site_of(tmp_path, config_dir=tmp_path / "config") as site:
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
