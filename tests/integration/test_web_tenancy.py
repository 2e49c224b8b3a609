"""Customers, data sources, schemas and routes over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from headrace.web.app import create_app
from headrace.wiring import Application
from tests.integration.tenants import records, tenants
from tests.integration.web_client import WebClient
from workers.sync import run_sync

API = "/api/v1"


class Asker:
    """A client with a token of one group."""

    def __init__(self, client: WebClient) -> None:
        self.client = client

    def send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        if body is None:
            return self.client.request(method, API + path)
        headers = {"Content-Type": "application/json"}
        # In ASCII, so that half of a character can be sent too.
        return self.client.request(method, API + path, content=json.dumps(body), headers=headers)

    def __call__(self, method: str, path: str, body: Any = None, expected: int = 200) -> Any:
        answer = self.send(method, path, body)
        assert answer.status_code == expected, (answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        answer = self.send(method, path, body)
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        return answer.status_code, answer.json()["code"]


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    with tenants(tmp_path) as application:
        yield application


@pytest.fixture
def api(application: Application) -> FastAPI:
    return create_app(application)


def _asker(application: Application, api: FastAPI, group: str) -> Iterator[Asker]:
    token = application.tokens.create("t", visibility_group=group, access="write", actor="cli:test").text
    with WebClient(api, token) as client:
        yield Asker(client)


@pytest.fixture
def ask(application: Application, api: FastAPI) -> Iterator[Asker]:
    yield from _asker(application, api, "production")


@pytest.fixture
def other(application: Application, api: FastAPI) -> Iterator[Asker]:
    yield from _asker(application, api, "testing")


def _new(root: Path, **more: Any) -> dict[str, Any]:
    body = {"nickname": "New", "schema": "shop", "type": "sqlite", "url": f"sqlite:///{root}/new.db"}
    return {**body, **more}


def test_a_customer_is_created_with_a_token_and_found_again(ask: Asker) -> None:
    body = {"provided_id": "hooli", "properties": {"plan": "gold"}, "data_source_provided_id": "eu-1"}
    made = ask("POST", "/customers", body, 201)
    assert made["mapping"] == {"shop": {"id": "eu", "provided_id": "eu-1"}}
    assert (made["computed_mapping"], made["via"]) == (made["mapping"], {"shop": "own"})
    assert made["token"].count(".") == 2
    again = ask("POST", "/customers", {"provided_id": "hooli"}, 200)
    assert (again["id"], again["properties"]) == (made["id"], {"plan": "gold"})
    assert ask("GET", "/customers/provided:hooli")["id"] == made["id"]
    assert ask.refused("POST", "/customers", {"provided_id": "hooli", "data_source_id": "main"}) == (
        409,
        "customer_exists_with_different_mapping",
    )
    browser = ask.client.post(f"{API}/customers", json=body, headers={"Sec-Fetch-Mode": "cors"})
    assert browser.status_code == 403


def test_what_is_unknown_and_what_is_anothers_is_answered_alike(ask: Asker, other: Asker) -> None:
    told = []
    for data_source in ("main", "none"):
        body = {"provided_id": "hooli", "data_source_id": data_source}
        answer = other.client.post(f"{API}/customers", json=body)
        told.append((answer.status_code, answer.json()))
    assert told[0] == told[1]
    assert told[0][0] == 404
    acme = ask("GET", "/customers/provided:acme")["id"]
    for method, path, body in (
        ("GET", f"/customers/{acme}", None),
        ("PATCH", f"/customers/{acme}", {"name": "Mine"}),
        ("DELETE", f"/customers/{acme}", None),
        ("POST", f"/customers/{acme}/move", {"schema": "shop", "to": "test"}),
        ("GET", f"/explain-route?customer={acme}&schema=shop", None),
        ("GET", "/data-sources/main", None),
        ("PATCH", "/data-sources/main", {"nickname": "Mine"}),
        ("POST", "/data-sources/main/drain", {}),
        ("POST", "/data-sources/main/activate", None),
        ("GET", "/data-sources/main/impact", None),
        ("DELETE", "/data-sources/main", None),
        ("PUT", "/schemas/shop/default", {"data_source_id": "main"}),
    ):
        assert other.refused(method, path, body)[0] in {404, 409}, (method, path)
    assert other("GET", "/customers")["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"provided_id": ""},
        {"provided_id": "a\0b"},
        {"provided_id": "\ud800"},
        {"provided_id": " "},
        {"provided_id": "x" * 201},
        {"provided_id": "a", "unknown": 1},
        {"provided_id": "a", "mapping": {"shop": {}}},
        {"provided_id": "a", "mapping": {"Shop": {"id": "eu"}}},
        {"provided_id": "a", "properties": {"x": "\0"}},
        {"provided_id": "a", "properties": {"\ud800": 1}},
        {"provided_id": "a", "properties": {"x": 2**70}},
        {"provided_id": "a", "properties": {"x": "y" * 20_000}},
        {"provided_id": "a", "parent": "provided:nobody"},
        {"provided_id": "a", "data_source_id": "eu", "data_source_provided_id": "main"},
    ],
)
def test_what_cannot_be_kept_is_refused(ask: Asker, body: dict[str, Any]) -> None:
    assert ask.refused("POST", "/customers", body)[0] == 422


def test_numbers_that_json_does_not_know_are_refused(ask: Asker) -> None:
    for text in ("1e999", "NaN", "-Infinity"):
        content = f'{{"provided_id": "a", "properties": {{"x": {text}}}}}'
        answer = ask.client.post(
            f"{API}/customers", content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 422


def test_a_slip_of_a_request_is_told_with_what_would_be_right(ask: Asker) -> None:
    untyped = ask.client.post(f"{API}/customers", content='{"provided_id": "a"}').json()
    assert untyped["detail"] == (
        "body: is no JSON object, or was not sent with Content-Type: application/json"
    )
    assert "provided:ID" in ask("GET", "/customers/acme", expected=404)["detail"]
    assert "provided:ID" not in ask("GET", "/customers/provided:nobody", expected=404)["detail"]


def test_customers_are_listed_changed_and_deleted(
    ask: Asker, application: Application, tmp_path: Path
) -> None:
    first = ask("GET", "/customers?limit=2")
    rest = ask("GET", f"/customers?limit=2&after={first['next']}")
    assert [c["provided_id"] for c in (*first["items"], *rest["items"])] == ["acme", "globex", "initech"]
    assert ask.refused("GET", "/customers?after=%21") == (422, "invalid_request")
    assert (
        ask("PATCH", "/customers/provided:acme", {"name": "Acme", "parent": "provided:initech"})["name"]
        == "Acme"
    )
    assert [c["provided_id"] for c in ask("GET", "/customers?parent=provided:initech")["items"]] == ["acme"]
    assert ask("PATCH", "/customers/provided:acme", {"parent": None})["parent"] is None
    assert ask.refused("PATCH", "/customers/provided:acme", {"data_source_id": "eu"}) == (
        409,
        "customer_has_records",
    )
    assert ask.refused("PATCH", "/customers/provided:globex", {"name": "X"}) == (409, "owned_by_config")
    elsewhere = {"schema": "shop", "to": "main"}
    assert ask.refused("POST", "/customers/provided:globex/move", elsewhere) == (409, "owned_by_config")
    ask("DELETE", "/customers/provided:acme", expected=204)
    assert ask.refused("GET", "/customers/provided:acme") == (404, "not_found")
    assert not run_sync(application).failed
    assert records(tmp_path / "main.db") == [("initech", 4)]


def test_a_customer_moves_and_its_move_is_seen(ask: Asker, application: Application, tmp_path: Path) -> None:
    begun = ask("POST", "/customers/provided:acme/move", {"schema": "shop", "to": "eu"}, 202)
    assert (begun["state"], begun["from"], begun["to"]) == ("reading", "main", "eu")
    assert ask.refused("POST", "/customers/provided:acme/move", {"schema": "shop", "to": "eu"}) == (
        409,
        "move_under_way",
    )
    for _ in range(2):
        assert not run_sync(application).failed
    assert ask("GET", f"/moves/{begun['id']}")["state"] == "moved"
    assert records(tmp_path / "eu.db") == [("acme", 1), ("acme", 2), ("globex", 3)]
    assert [m["id"] for m in ask("GET", "/customers/provided:acme/moves")["items"]] == [begun["id"]]
    assert ask.refused("DELETE", f"/moves/{begun['id']}") == (409, "move_ended")
    assert ask.refused("GET", "/moves/none") == (404, "not_found")


def test_moves_of_another_group_are_not_there(ask: Asker, other: Asker) -> None:
    begun = ask("POST", "/customers/provided:acme/move", {"schema": "shop", "to": "eu"}, 202)
    assert other.refused("GET", f"/moves/{begun['id']}") == (404, "not_found")
    assert other.refused("DELETE", f"/moves/{begun['id']}") == (404, "not_found")
    assert ask("DELETE", f"/moves/{begun['id']}")["state"] == "cancelled"


def test_a_data_source_is_added_used_and_deleted(
    ask: Asker, application: Application, tmp_path: Path
) -> None:
    assert ask("POST", "/data-sources/test", {k: v for k, v in _new(tmp_path).items() if k != "nickname"})
    assert not (tmp_path / "new.db").exists()
    made = ask("POST", "/data-sources", _new(tmp_path, provided_id="new-1"), 201)
    assert (made["state"], made["origin"], "url" in made) == ("active", "api", False)
    assert records(tmp_path / "new.db") == []
    ask("POST", "/customers/provided:acme/move", {"schema": "shop", "to": made["id"]}, 202)
    for _ in range(2):
        assert not run_sync(application).failed
    assert records(tmp_path / "new.db") == [("acme", 1), ("acme", 2)]
    assert not application.apply(application.definitions()).failed
    where = ask("GET", "/explain-route?customer=provided:acme&schema=shop")
    assert (where["data_source"], where["via"], where["bound_by"]) == (made["id"], "own", "acme")
    assert ask.refused("DELETE", f"/data-sources/{made['id']}") == (409, "data_source_in_use")
    drained = ask("POST", f"/data-sources/{made['id']}/drain", {"to": "main"})
    assert [move["customer"]["provided_id"] for move in drained["moves"]] == ["acme"]
    for _ in range(2):
        assert not run_sync(application).failed
    assert ask("DELETE", f"/data-sources/{made['id']}")["deleted"] is True
    assert records(tmp_path / "main.db") == [("acme", 1), ("acme", 2), ("initech", 4)]


def test_data_sources_never_share_a_place_and_their_files_are_confined(ask: Asker, tmp_path: Path) -> None:
    for url, code in (
        (f"sqlite:///{tmp_path}/main.db", "data_source_exists"),
        (f"sqlite:///{tmp_path}/app.db", "data_source_exists"),
        (f"sqlite:///{tmp_path}/control.db", "host_not_allowed"),
        ("sqlite:////etc/new.db", "host_not_allowed"),
        ("sqlite:///../../new.db", "host_not_allowed"),
    ):
        assert ask.refused("POST", "/data-sources", _new(tmp_path, url=url))[1] == code, url
    postgres = _new(tmp_path, type="postgres", url="postgresql://me:s3cret@127.0.0.1/x")
    status, code = ask.refused("POST", "/data-sources", postgres)
    assert (status, code) == (422, "host_not_allowed")
    lines = ask("GET", "/audit")["items"]
    assert "s3cret" not in str(lines)
    assert [x["detail"]["code"] for x in lines if x["action"] == "data_source.add"] == [
        *["host_not_allowed"] * 4,
        *["data_source_exists"] * 2,
    ]


def test_a_default_is_previewed_and_set(ask: Asker, other: Asker, tmp_path: Path) -> None:
    assert ask("GET", "/schemas")["items"] == [
        {"id": "shop", "name": "Shop", "models": ["users"], "default": "main"}
    ]
    assert ask.refused("GET", "/schemas/none") == (404, "not_found")
    assert ask.refused("PUT", "/schemas/shop/default", {"data_source_id": "eu"}) == (409, "owned_by_config")
    assert ask.refused("PUT", "/schemas/none/default", {"data_source_id": "eu"}) == (404, "not_found")
    assert other("GET", "/schemas/shop")["default"] == "test"


def test_every_change_and_refusal_is_in_the_audit_of_its_group(ask: Asker, other: Asker) -> None:
    ask.refused("POST", "/customers", {"provided_id": "hooli", "data_source_id": "none"})
    ask.refused("POST", "/customers/provided:acme/move", {"schema": "shop", "to": "none"})
    lines = ask("GET", "/audit?limit=2")["items"]
    assert [(x["action"], x["outcome"], x["customer"], x["detail"]["code"]) for x in lines] == [
        ("customer.move", "refused", "provided:acme", "not_found"),
        ("customer.create", "refused", "hooli", "not_found"),
    ]
    assert lines[0]["actor"].startswith("token:")
    assert {x["action"] for x in other("GET", "/audit")["items"]} == {"token.create"}
