"""Records over HTTP: of the token's customer, or of the one whom staff name, and of nobody else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from headrace.control import route_cache
from headrace.domain.vocabulary import DataSourceId, ModelId
from tests.conformance.store_rows import scope
from tests.integration.web_client import WebClient
from tests.integration.web_records import bind, put, records_site, shape, sqlite_store
from tests.integration.web_site import Site

STAFF = "/api/v1/records/users"
EMBED = "/embed/v1/records/users"


@pytest.fixture(params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """acme has the default data source, globex one of its own; both know user 1."""
    monkeypatch.setenv("SITE", str(tmp_path))
    own = sqlite_store("own")
    if request.param == "postgres":
        monkeypatch.setenv("STORE_URL", str(request.getfixturevalue("postgres_database")))
        own = {"type": "postgres", "url": "${STORE_URL}"}
    with records_site(tmp_path, dict(os.environ), {"main": sqlite_store("main"), "own": own}) as made:
        bind(made, "c-globex", "own")
        put(made, "main", "acme", *({"id": n, "name": f"acme {n}", "total": f"{n}.50"} for n in range(1, 6)))
        put(made, "own", "globex", {"id": 1, "name": "globex 1"})
        # What a mistake of routing would show.
        put(made, "own", "acme", {"id": 1, "name": "acme in globex's"})
        put(made, "main", "globex", {"id": 1, "name": "globex in acme's"})
        yield made


@pytest.fixture
def acme(site: Site) -> Iterator[WebClient]:
    with WebClient(site.api, site.customer_token("c-acme")) as client:
        yield client


@pytest.fixture
def globex(site: Site) -> Iterator[WebClient]:
    with WebClient(site.api, site.customer_token("c-globex")) as client:
        yield client


@pytest.fixture
def staff(site: Site) -> Iterator[WebClient]:
    with site.client(access="read") as client:
        yield client


def names(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [item["name"] for item in response.json()["items"]]


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_a_customer_reads_its_own_records_from_its_own_data_source(
    acme: WebClient, globex: WebClient
) -> None:
    assert names(acme.get(EMBED)) == [f"acme {n}" for n in range(1, 6)]
    assert names(globex.get(EMBED)) == ["globex 1"]
    record = globex.get(f"{EMBED}/a/1")
    assert record.headers["content-type"] == "application/json"
    assert record.json() | {"_created_at": "", "_updated_at": ""} == {
        "org": "a", "id": 1, "name": "globex 1", "total": None,
        "_created_at": "", "_updated_at": "", "_invalid": None,
    }  # fmt: skip


def test_nothing_that_a_customers_request_says_names_another(acme: WebClient) -> None:
    for query in ("customer=globex", "customer=provided:globex", "data_source=own", "customer_id=c-globex"):
        assert names(acme.get(f"{EMBED}?{query}"))[0] == "acme 1"
    assert code(acme.get(f"{EMBED}?filter=_customer_id:eq:globex")) == (422, "invalid_request")
    assert code(acme.get(f"{EMBED}?fields=_customer_id")) == (422, "invalid_request")
    assert code(acme.get(STAFF + "?customer=provided:acme")) == (401, "unauthenticated")


def test_filters_sorting_fields_and_pages_go_together(acme: WebClient) -> None:
    query = {
        "filter": ["total:gt:1.5", "name:starts_with:acme"],
        "sort": "-total",
        "fields": "id",
        "limit": 2,
    }
    first = acme.get(EMBED, params=query)
    assert first.json()["items"] == [{"id": 5}, {"id": 4}]
    second = acme.get(EMBED, params={**query, "after": first.json()["next"]})
    assert second.json() == {"items": [{"id": 3}, {"id": 2}], "next": None}
    other = {**query, "sort": "total", "after": first.json()["next"]}
    assert code(acme.get(EMBED, params=other)) == (422, "invalid_request")


def test_a_query_that_means_nothing_is_refused(acme: WebClient) -> None:
    for query in (
        "filter=name", "filter=name:like:x", "filter=nobody:eq:1", "filter=id:eq:x", "filter=id:gt",
        "filter=name:exists:1", "filter=_invalid:eq:1", "sort=nobody", "sort=id,id", "sort=_invalid",
        "fields=nobody", "limit=0", "limit=1001", "after=x", "after=e30", "after=%F0%9F%98%80",
        "filter=name:in:a\\",
    ):  # fmt: skip
        assert code(acme.get(f"{EMBED}?{query}")) == (422, "invalid_request"), query


def test_a_key_that_no_record_has_is_not_found(acme: WebClient) -> None:
    for key in ("a/99", "a/x", "a", "a/1/2", "b/1", "a/1/", "", "%ff/1", "a%2F1"):
        assert code(acme.get(f"{EMBED}/{key}")) == (404, "not_found"), key


def test_a_slash_in_a_part_of_a_key_is_no_slash_between_two(site: Site, acme: WebClient) -> None:
    put(site, "main", "acme", {"org": "a/b é", "id": 7, "name": "odd"})
    assert acme.get(f"{EMBED}/a%2Fb%20%C3%A9/7?fields=name").json() == {"name": "odd"}


def test_models_that_are_not_there_are_not_found(acme: WebClient, staff: WebClient) -> None:
    assert code(acme.get("/embed/v1/records/secrets")) == (404, "not_found")
    assert code(acme.get("/embed/v1/records/secrets/1")) == (404, "not_found")
    assert code(staff.get("/api/v1/records/secrets?customer=provided:acme")) == (404, "not_found")


def test_staff_see_what_the_customer_sees_by_the_same_route(staff: WebClient) -> None:
    for named, mine in (
        ("c-globex", "globex 1"),
        ("provided:globex", "globex 1"),
        ("provided:acme", "acme 1"),
    ):
        assert names(staff.get(STAFF, params={"customer": named}))[0] == mine
        one = staff.get(f"{STAFF}/a/1", params={"customer": named, "fields": "name"})
        assert one.json() == {"name": mine}
    assert staff.get(STAFF).status_code == 422
    # t-acme is of the other group: the same answer as for nobody.
    for nobody in ("t-acme", "provided:nobody", "nobody"):
        assert code(staff.get(STAFF, params={"customer": nobody})) == (404, "not_found")


def test_what_staff_read_and_were_refused_is_audited(site: Site, staff: WebClient) -> None:
    staff.get(f"{STAFF}/a/1", params={"customer": "c-globex"})
    staff.get(STAFF, params={"customer": "provided:nobody"})
    refused, done = [entry.line for entry in site.application.audit.list(limit=2).items]
    assert (done.action, done.outcome, done.customer, done.schema) == (
        "records.read",
        "done",
        "globex",
        "shop",
    )
    assert (done.data_source_id, done.epoch, done.via) == ("own", 1, "own")
    assert done.actor.startswith("token:")
    assert (refused.outcome, refused.customer, refused.detail["code"]) == ("refused", "nobody", "not_found")


def test_a_customer_without_a_data_source_is_told_so(site: Site, globex: WebClient, acme: WebClient) -> None:
    run(site, "DELETE FROM default_data_source", "UPDATE data_source SET state = 'disabled' WHERE id = 'own'")
    assert code(acme.get(EMBED)) == (409, "no_data_source_for_schema")
    assert code(acme.get(f"{EMBED}/a/x")) == (409, "no_data_source_for_schema")
    answer = globex.get(EMBED)
    assert code(answer) == (503, "data_source_unavailable")
    assert "own" not in answer.json()["detail"]


def test_a_data_source_that_fails_answers_for_nobody_else(
    site: Site, globex: WebClient, acme: WebClient
) -> None:
    run(site, "UPDATE binding SET data_source_id = 'main' WHERE data_source_id = 'none'")
    (Path(os.environ["SITE"]) / "main.db").unlink()
    site.application.stores.close()
    assert acme.get(EMBED).status_code == 503
    assert names(globex.get(EMBED)) == ["globex 1"]


def test_a_read_that_meets_a_move_resolves_again(site: Site, acme: WebClient) -> None:
    site.application.route_cache.watch()
    assert names(acme.get(EMBED))[0] == "acme 1"
    # The flip, by another process; and the merge of its drop, before this one has seen it.
    with site.application.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO binding (customer_id, schema, data_source_id, origin)"
                " VALUES ('c-acme', 'shop', 'own', 'explicit')"
            )
        )
        connection.execute(sa.text("UPDATE residence SET data_source_id = 'own' WHERE provided_id = 'acme'"))
        connection.execute(sa.text("UPDATE routing_version SET version = version + 1"))
        version = connection.execute(sa.text("SELECT version FROM routing_version")).scalar_one()
    model = shape(site)
    with site.application.stores.open(DataSourceId("main")).merging(model) as merge:
        assert merge is not None
        merge.drop_customer(scope(model.primary, "acme"), "acme", version)
    assert names(acme.get(EMBED)) == ["acme in globex's"]
    assert acme.get(f"{EMBED}/a/1").json()["name"] == "acme in globex's"


def test_a_change_through_this_process_is_seen_by_the_next_request(
    site: Site, acme: WebClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route_cache, "ASK_EVERY_S", 60.0)
    site.application.route_cache.watch()
    monkeypatch.setattr(route_cache, "TRUSTED_S", 60.0)
    site.application.route_cache.look()
    assert names(acme.get(EMBED))[0] == "acme 1"
    with site.client() as writer:
        asked = {"schema": "shop", "to": "own", "mode": "switch_only"}
        changed = writer.post("/api/v1/customers/c-acme/move", json=asked)
        assert changed.status_code == 202, changed.text
    assert names(acme.get(EMBED)) == ["acme in globex's"]


def test_what_a_drifted_data_source_holds_is_told_to_nobody(
    site: Site, acme: WebClient, globex: WebClient
) -> None:
    """A column of another type reads like any; whoever merges or sweeps has seen that it is."""
    application = site.application
    application.drift.note(DataSourceId("own"), ModelId("users"), ["users.total is text"])
    assert code(globex.get(EMBED)) == (503, "data_source_unavailable")
    assert names(acme.get(EMBED))
    application.drift.forget(DataSourceId("own"))
    application._known_drift.forget()
    assert names(globex.get(EMBED))


def test_the_document_says_what_records_are(site: Site) -> None:
    paths: dict[str, Any] = site.api.openapi()["paths"]
    for path in (EMBED, STAFF):
        listed = paths[path.replace("users", "{model}")]["get"]
        answer = listed["responses"]["200"]["content"]["application/json"]["schema"]
        assert answer["required"] == ["items", "next"]
        assert {"404", "409", "503"} <= listed["responses"].keys()
        assert json.dumps(paths[path.replace("users", "{model}") + "/{key}"]["get"]["responses"]["200"])


def run(site: Site, *statements: str) -> None:
    with site.application.engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    site.application.route_cache.invalidate()
