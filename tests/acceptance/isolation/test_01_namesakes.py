"""Customers of two visibility groups may have the same `provided_id`, and the groups a data source in common:
neither customer finds the other's records, whatever it is led to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.definition.loader import load
from tests.acceptance.isolation.estate import Estate
from tests.acceptance.isolation.markers import Asker, found_in
from tests.integration.web_client import WebClient
from tests.integration.web_records import put, records_site, sqlite_store
from tests.integration.web_site import Site

SECRET = "what acme of production bought"
ROWS = "/api/v1/data-sources/main/tables/users/rows"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """acme of production has a record in the default data source of both groups; acme of testing has none."""
    monkeypatch.setenv("SITE", str(tmp_path))
    with records_site(tmp_path, dict(os.environ), {"main": sqlite_store("main")}) as made:
        put(made, "main", "acme", {"id": 1, "name": SECRET})
        yield made


def test_a_customer_without_records_finds_none_of_its_namesake(site: Site) -> None:
    site.application.route_cache.watch()
    with WebClient(site.api, site.customer_token("c-acme")) as owner:
        assert SECRET in owner.get("/embed/v1/records/users").text
    with WebClient(site.api, site.customer_token("t-acme")) as namesake:
        for _ in range(2):
            assert namesake.get("/embed/v1/records/users").json() == {"items": [], "next": None}
            assert namesake.get("/embed/v1/records/users/a/1").status_code == 404


def test_nor_does_staff_of_its_group(site: Site) -> None:
    with site.client("testing") as staff:
        found = staff.get("/api/v1/records/users?customer=provided:acme")
        assert found.json() == {"items": [], "next": None}
        assert staff.get("/api/v1/records/users/a/1?customer=t-acme").status_code == 404
        rows = staff.get(f"{ROWS}?customer=t-acme")
        assert (rows.status_code, rows.json()["rows"]) == (200, [])
        assert staff.get(ROWS).status_code == 422


def test_what_is_left_of_a_group_that_lost_the_data_source_is_shown_to_no_other(
    made: Estate, client: WebClient
) -> None:
    """c2 of testing has records in a data source that production alone has from now on."""
    file = made.directory / "config" / "data_sources" / "post_one.json"
    alone = {"visibility_groups": ["production"], "default_for": ["production"]}
    body = json.loads(file.read_text()) | alone
    file.write_text(json.dumps(body))
    assert not made.site.application.apply(load(made.directory / "config", dict(os.environ))).failed
    assert ("testing", "c2") in made.in_place("post_one")
    asker = Asker("staff", made.site.staff_token("production", "read"), "production")
    headers = {"Authorization": f"Bearer {asker.token}"}
    rows = "/api/v1/data-sources/post_one/tables/users/rows"
    for query, status in (("", 422), ("?customer=provided:c2", 200), ("?customer=provided:c3", 200)):
        answer = client.get(rows + query, headers=headers)
        assert answer.status_code == status, answer.text
        assert made.markers.foreign(answer.content, asker) == []
    assert found_in(client.get(f"{rows}?customer=provided:c3", headers=headers).content)
