"""Customers of two visibility groups may have the same `provided_id`, and the groups a data source in common:
neither customer finds the other's records, whatever it is led to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

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
