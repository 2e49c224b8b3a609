"""A data source that fails for its customers is an error to them, never anything else's records."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy as sa

from tests.acceptance.isolation.estate import RECORDS, Estate
from tests.acceptance.isolation.markers import found_in
from tests.integration.web_client import WebClient

BROKEN = ("post_two", "lite_one")


def warm(made: Estate, client: WebClient) -> None:
    """Routes, connections and statements are kept from reads that went well."""
    made.site.application.route_cache.watch()
    for who in made.resident():
        assert made.found(client, who) == made.markers.of(who)


def fails_for_its_own_alone(made: Estate, client: WebClient, broken: str) -> None:
    theirs = set(made.in_place(broken))
    assert len(theirs) >= 3
    for who in made.resident() * 2:
        if who not in theirs:
            assert made.found(client, who) == made.markers.of(who), who
            continue
        headers = {"Authorization": f"Bearer {made.customer(who).token}"}
        for path in (*(f"records/{model}" for model in RECORDS), "records/users/a/1"):
            answer = client.get(f"/embed/v1/{path}", headers=headers)
            assert answer.status_code == 503, (who, answer.text)
            assert found_in(answer.content) == set()
            assert broken not in answer.text
        staff = {"Authorization": f"Bearer {made.site.staff_token(who[0], 'read')}"}
        answer = client.get(f"/api/v1/records/users?customer={made.customers[who]}", headers=staff)
        assert (answer.status_code, found_in(answer.content)) == (503, set())


@pytest.mark.parametrize("keeping", ["cold", "warm"])
@pytest.mark.parametrize("broken", BROKEN)
def test_a_data_source_that_lost_its_tables_is_an_error(
    made: Estate, client: WebClient, broken: str, keeping: str, postgres_database: str
) -> None:
    if keeping == "warm":
        warm(made, client)
    if broken.startswith("post"):
        with psycopg.connect(postgres_database, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {broken} CASCADE".encode())
    else:
        (made.directory / f"{broken}.db").unlink()
        made.site.application.stores.close()  # or its open connections would still read the removed file
    fails_for_its_own_alone(made, client, broken)


def test_a_data_source_that_cannot_be_reached_is_an_error(
    made: Estate, client: WebClient, monkeypatch: pytest.MonkeyPatch, postgres_database: str
) -> None:
    warm(made, client)
    url = os.environ["URL_POST_TWO"]
    monkeypatch.setenv("URL_POST_TWO", url.replace(urlsplit(url).netloc.rpartition("@")[2], "127.0.0.1:1"))
    made.site.application.stores.close()
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    fails_for_its_own_alone(made, client, "post_two")


def test_a_data_source_that_is_disabled_is_an_error(made: Estate, client: WebClient) -> None:
    warm(made, client)
    made.site.application.data_sources.disable("post_two", actor="cli:test", within=None)
    made.site.application.route_cache.invalidate()
    fails_for_its_own_alone(made, client, "post_two")


def test_without_the_control_database_nobody_is_answered_with_records(
    made: Estate, client: WebClient
) -> None:
    warm(made, client)
    application = made.site.application
    tokens = {who: made.customer(who).token for who in made.resident()}
    application.route_cache.close()
    with application.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE routing_version RENAME TO routing_version_gone"))
    for token in tokens.values():
        answer = client.get("/embed/v1/records/users", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code in {500, 503}
        assert found_in(answer.content) == set()
