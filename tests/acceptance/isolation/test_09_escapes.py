"""Ways in which others were seen to answer one customer with another's rows, as regressions.

Those of the role for reading are in tests/integration/test_reading_role.py, those of previews in
tests/integration/test_web_preview.py; docs/isolation.md lists all.
"""

from __future__ import annotations

import os
from urllib.parse import quote

import psycopg
import pytest

from headrace.domain.vocabulary import DataSourceId
from headrace.errors import HeadraceError
from tests.acceptance.isolation.estate import Estate
from tests.acceptance.isolation.markers import found_in
from tests.integration.web_client import WebClient
from tests.unit.test_one_opener import MODULES, imported, name_of, parsed

ESCAPES = (
    "' OR '1'='1", "x' UNION SELECT name FROM users --",
    "'); SELECT set_config('headrace.customer', 'c2', true); --",
    "c1' OR _customer_id <> '", "%", "_", "\\", '"', "$$", "c2", "{}", "[]", "null", "1e999", "\u202e",
)  # fmt: skip


@pytest.fixture
def made(lasting: Estate) -> Estate:
    return lasting


def test_no_session_keeps_objects_of_one_customer_for_the_next() -> None:
    """A Session of SQLAlchemy that was bound to another engine returned what it had loaded for the first."""
    using = [
        name_of(path)
        for path in MODULES
        if any(name.startswith("sqlalchemy.orm") for name in imported(parsed(path)).values())
        or "scoped_session" in path.read_text()
    ]
    assert using == []


@pytest.mark.parametrize("who", [("production", "c3"), ("testing", "c2"), ("testing", "c1")])
def test_nothing_that_is_asked_gets_out_of_the_customer(
    made: Estate, client: WebClient, who: tuple[str, str]
) -> None:
    headers = {"Authorization": f"Bearer {made.customer(who).token}"}
    for text in ESCAPES:
        asked: tuple[tuple[str, dict[str, str]], ...] = (
            ("/embed/v1/records/users", {"filter": f"name:ne:{text}"}),
            ("/embed/v1/records/users", {"filter": f"name:not_in:{text},x"}),
            ("/embed/v1/records/users", {"filter": f"name:not_contains:{text}"}),
            ("/embed/v1/records/users", {"filter": f"_customer_id:ne:{text}"}),
            ("/embed/v1/records/users", {"sort": text}),
            ("/embed/v1/records/users", {"fields": text}),
            ("/embed/v1/records/users", {"after": text}),
            (f"/embed/v1/records/{quote(text, safe='')}", {}),
            (f"/embed/v1/records/users/a/{quote(text, safe='')}", {}),
            (f"/embed/v1/records/users/{quote(text, safe='')}/1", {}),
        )
        for path, params in asked:
            answer = client.get(path, params=params, headers=headers)
            assert answer.status_code in {200, 404, 422}, (path, params, answer.text)
            assert found_in(answer.content) <= made.markers.of(who), (path, params)


def test_a_setting_that_somebody_left_on_the_server_leads_no_read_astray(
    made: Estate, client: WebClient
) -> None:
    """The role's own default of the customer, as `ALTER ROLE` may set it, is not what a read goes by."""
    role = os.environ["READ_URL"].split("//")[1].split(":")[0]
    first, second, *_ = made.in_place("post_one")
    with psycopg.connect(os.environ["URL_POST_ONE"], autocommit=True) as connection:
        connection.execute(f"ALTER ROLE {role} SET headrace.customer = '{first[1]}'".encode())
    made.site.application.stores.close()
    for who in (second, first, second):
        assert made.found(client, who) == made.markers.of(who)


def test_rows_of_all_are_not_read_by_the_role_that_reads_for_one(made: Estate) -> None:
    """Behind the condition of each read stands row-level security: without it nothing more is found."""
    first, *_ = made.in_place("post_one")
    reader = made.site.application.stores.reader(DataSourceId("post_one"))
    connections = reader._connections  # type: ignore[attr-defined]
    everything = f"SELECT name FROM {connections.dialect.table('users')}"
    found = connections.fetch(everything, {}, customer=first[1])
    assert {name for (name,) in found} <= made.markers.of(first)
    assert len(found) == 3
    assert connections.fetch(everything, {}, customer="nobody") == []
    with pytest.raises(HeadraceError):
        connections.fetch(f"DELETE FROM {connections.dialect.table('users')}", {}, customer=first[1])
