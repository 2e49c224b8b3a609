"""Previews: what is stored, of a table that the catalogue has, within bounds, and without a trace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from headrace.domain.vocabulary import DataSourceId
from headrace.stores import preview
from tests.acceptance.project import execute
from tests.integration.web_client import WebClient
from tests.integration.web_records import put, records_site, sqlite_store
from tests.integration.web_site import Site

PATH = "/api/v1/data-sources/own"


@pytest.fixture(params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The data source `own`, of production alone, with users of two customers; `main` is its sibling."""
    monkeypatch.setenv("SITE", str(tmp_path))
    url = f"sqlite:///{tmp_path}/own.db"
    own: dict[str, Any] = {"type": "sqlite", "url": "sqlite:///${SITE}/own.db"}
    if request.param == "postgres":
        url = str(request.getfixturevalue("postgres_database"))
        own = {"type": "postgres", "url": "${STORE_URL}", "namespace": "odd schema"}
    monkeypatch.setenv("STORE_URL", url)
    own["visibility_groups"] = ["production"]
    with records_site(tmp_path, dict(os.environ), {"main": sqlite_store("main"), "own": own}) as made:
        put(made, "main", "acme", {"id": 1, "name": "acme in main"})
        put(made, "own", "acme", *({"id": n, "name": f"acme {n}"} for n in range(1, 4)))
        put(made, "own", "globex", {"id": 1, "name": "globex 1"})
        yield made


@pytest.fixture
def staff(site: Site) -> Iterator[WebClient]:
    with site.client(access="read") as client:
        yield client


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def cells(answer: Any, column: str) -> list[Any]:
    assert answer.status_code == 200, answer.text
    place = [c["name"] for c in answer.json()["columns"]].index(column)
    return [row[place] for row in answer.json()["rows"]]


def test_tables_are_those_of_the_namespace_with_the_data_sources_that_have_them_too(staff: WebClient) -> None:
    answer = staff.get(f"{PATH}/tables").json()
    tables = {table["name"]: [column["name"] for column in table["columns"]] for table in answer["items"]}
    assert tables["users"][:5] == ["_customer_id", "org", "id", "name", "total"]
    assert {"_applied", "_identity", "_moved"} <= tables.keys()
    assert not any(name.startswith(("pg_", "sqlite_")) for name in tables)
    assert answer["siblings"] == [{"id": "main", "nickname": "main"}]


def test_rows_come_by_key_and_say_whether_there_are_more(staff: WebClient) -> None:
    answer = staff.get(f"{PATH}/tables/users/rows?limit=4")
    assert cells(answer, "name") == ["acme 1", "acme 2", "acme 3", "globex 1"]
    assert (answer.json()["truncated"], answer.json()["cut"]) == (False, False)
    assert cells(answer, "total") == [None] * 4
    answer = staff.get(f"{PATH}/tables/users/rows?limit=2")
    assert (cells(answer, "id"), answer.json()["truncated"]) == (["1", "2"], True)
    assert cells(staff.get(f"{PATH}/tables/users/rows?customer=c-globex"), "name") == ["globex 1"]
    assert staff.get(f"{PATH}/tables/_applied/rows?customer=c-globex").json()["rows"] == []


def test_the_same_table_of_a_sibling_is_at_its_own_path(staff: WebClient) -> None:
    path = f"{PATH}/tables/users/rows?customer=provided:acme".replace("own", "main")
    assert cells(staff.get(path), "name") == ["acme in main"]


def test_nothing_but_a_table_of_the_catalogue_is_asked_for(site: Site, staff: WebClient) -> None:
    for table in (
        "nobody",
        "users; DROP TABLE users",
        'users" WHERE 1=1 --',
        "USERS",
        "pg_class",
        "sqlite_master",
    ):
        assert code(staff.get(f"{PATH}/tables/{table}/rows")) == (404, "not_found")
    assert cells(staff.get(f"{PATH}/tables/users/rows"), "id") == ["1", "2", "3", "1"]


def test_odd_tables_are_shown_as_they_are_and_long_values_cut(site: Site, staff: WebClient) -> None:
    url = os.environ["STORE_URL"]
    odd, binary = ('"odd schema".', "bytea") if url.startswith("postgres") else ("", "blob")
    value = r"'\xff00'" if odd else "x'ff00'"
    execute(
        url,
        f'CREATE TABLE {odd}"odd % ""table" ("a % ""b" {binary}, long text)',
        f"""INSERT INTO {odd}"odd % ""table" VALUES ({value}, '{"é" * 5000}')""",
    )
    answer = staff.get(f'{PATH}/tables/odd %25 "table/rows')
    assert cells(answer, 'a % "b')[0].lower().endswith("ff00")
    assert answer.json()["cut"]
    assert cells(answer, "long") == ["é" * 1000]


def test_all_of_a_look_is_bounded(site: Site, staff: WebClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "MOST_CHARACTERS", 200)
    put(site, "own", "acme", *({"id": n, "name": "x" * 500} for n in range(1, 4)))
    answer = staff.get(f"{PATH}/tables/users/rows?limit=3")
    assert cells(answer, "name") == ["x" * 8] * 3
    assert answer.json()["cut"]


def test_a_look_cannot_write_and_is_rolled_back(site: Site) -> None:
    store = site.application.stores.open(DataSourceId("own"))
    connections = store._connections  # type: ignore[attr-defined]
    table = connections.dialect.table("users")
    for write in (f"DELETE FROM {table}", f"UPDATE {table} SET name = 'x'", "CREATE TABLE mine (id integer)"):
        with pytest.raises(Exception, match=r"read-?only"), connections.looking(timeout_s=5) as session:
            session.run(write)
    if connections.dialect.name == "postgres":
        with (
            pytest.raises(Exception, match="transaction read-write mode"),
            connections.looking(timeout_s=5) as session,
        ):
            session.run("SET TRANSACTION READ WRITE")
    # The connection is as it was for whoever merges next.
    put(site, "own", "acme", {"id": 9, "name": "new"})
    with connections.looking(timeout_s=5) as session:
        assert session.all(f"SELECT count(*) FROM {table}") == [(5,)]


def test_a_look_ends_in_time(site: Site) -> None:
    store = site.application.stores.open(DataSourceId("own"))
    connections = store._connections  # type: ignore[attr-defined]
    slow = (
        "SELECT pg_sleep(60)"
        if connections.dialect.name == "postgres"
        else "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    )
    with pytest.raises(Exception, match=r"timeout|interrupted"), connections.looking(timeout_s=1) as session:
        session.all(slow)


def test_other_groups_see_nothing_of_it(site: Site, staff: WebClient) -> None:
    with site.client("testing", "read") as other:
        assert code(other.get(f"{PATH}/tables")) == (404, "not_found")
        assert code(other.get(f"{PATH}/tables/users/rows")) == (404, "not_found")
        # A data source of both groups: of the other one's customers nothing.
        main = "/api/v1/data-sources/main/tables/users/rows"
        assert code(other.get(main)) == (422, "invalid_request")
        assert code(other.get(f"{main}?customer=c-acme")) == (404, "not_found")
        # Nor of one whose provided_id is the same.
        assert cells(other.get(f"{main}?customer=t-acme"), "id") == []


def test_looks_are_audited(site: Site, staff: WebClient) -> None:
    staff.get(f"{PATH}/tables/users/rows")
    staff.get(f"{PATH}/tables/nobody/rows")
    refused, done = [entry.line for entry in site.application.audit.list(limit=2).items]
    assert (done.action, done.outcome, done.data_source_id) == ("data_source.preview", "done", "own")
    assert (refused.outcome, refused.detail) == ("refused", {"table": "nobody", "code": "not_found"})


def test_a_data_source_that_is_another_one_is_not_looked_at(site: Site, staff: WebClient) -> None:
    store = site.application.stores.open(DataSourceId("own"))
    connections = store._connections  # type: ignore[attr-defined]
    with connections.locked("") as session:
        session.run(f"UPDATE {connections.dialect.table('_identity')} SET workspace = 'another'")
    site.application.stores.close()
    assert code(staff.get(f"{PATH}/tables")) == (503, "data_source_unavailable")
    with site.application.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM data_source")).scalar_one() == 2
