"""What is kept of a customer (token, route, connections, statements) never outlives what it was kept by."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psycopg
import pytest

from headrace.definition.loader import load
from headrace.domain.vocabulary import DataSourceId
from tests.acceptance.isolation.estate import EMPTY, READ_BY_ROLE, RECORDS, Estate, with_user
from tests.acceptance.isolation.markers import Customer, found_in
from tests.integration.waiting import until
from tests.integration.web_client import WebClient
from workers.sync import run_sync

ACTOR = "cli:test"


@dataclass
class Kept:
    """A process that has read everything before."""

    made: Estate
    client: WebClient

    def whole(self, who: Customer) -> bool:
        """Whether the customer finds all that is its own; nothing else it may find, or the test fails."""
        return self.made.found(self.client, who) == self.made.markers.of(who)

    def all_whole(self) -> None:
        for who in self.made.resident():
            assert self.whole(who), who


@pytest.fixture
def kept(made: Estate, client: WebClient) -> Kept:
    made.site.application.route_cache.watch()
    kept = Kept(made, client)
    for _ in range(2):
        kept.all_whole()
    return kept


def test_what_is_kept_of_nobody_is_found_all_the_same(made: Estate, client: WebClient) -> None:
    """Each read resolves its route, opens its connection and prepares its statement."""
    for who in made.resident():
        made.site.application.stores.close()
        made.site.application.route_cache.invalidate()
        assert Kept(made, client).whole(who)


def test_a_customer_that_is_given_another_data_source_finds_its_own_there(kept: Kept) -> None:
    """By another process, so that this one is told nothing of it."""
    made, moves = kept.made, kept.made.site.application.moves
    who, to = ("production", "c1"), "post_one"
    moves.switch(made.customers[who], "shop", DataSourceId(to), actor=ACTOR)
    made.found(kept.client, who)
    _read_anew(made, who)
    until(lambda: kept.whole(who))
    kept.all_whole()


def _read_anew(made: Estate, who: Customer) -> None:
    for model in RECORDS:
        made.site.application.commands.request_reconcile(model, full=True, confirm=True)
    assert not run_sync(made.site.application).failed


def test_a_new_default_leads_to_nobodys_records(kept: Kept) -> None:
    """c9 of testing has no records; its namesake of production has, in what becomes the default."""
    data_sources = kept.made.site.application.data_sources
    empty = ("testing", EMPTY)
    for default in ("lite_two", "post_three"):
        with_default(kept.made, "testing", default)
        for _ in range(2):
            assert kept.made.found(kept.client, empty) == set()
    assert data_sources.defaults("testing")["shop"] == "post_three"
    kept.all_whole()


def with_default(made: Estate, group: str, data_source: str) -> None:
    """As another process sets it."""
    change = f"UPDATE default_data_source SET data_source_id = '{data_source}'"
    with made.site.application.engine.begin() as connection:
        connection.exec_driver_sql(f"{change} WHERE visibility_group = '{group}'")
        connection.exec_driver_sql("UPDATE routing_version SET version = version + 1")


def test_new_credentials_are_used_and_the_old_ones_no_more(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, postgres_database: str
) -> None:
    made, application = kept.made, kept.made.site.application
    role = f"{os.environ['READ_URL'].split('//')[1].split(':')[0]}_2"
    password = made.markers.make("a password of a role")
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'".encode())
        try:
            monkeypatch.setenv("NEW_READ_URL", with_user(postgres_database, role, password))
            for name in READ_BY_ROLE:
                file = made.directory / "config" / "data_sources" / f"{name}.json"
                file.write_text(file.read_text().replace("${READ_URL}", "${NEW_READ_URL}"))
            report = application.apply(load(made.directory / "config", dict(os.environ)))
            assert not report.failed
            kept.all_whole()
            used = connection.execute(
                "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database()"
                " AND usename LIKE 'headrace_reader%'"
            )
            assert used.fetchall() == [(role,)]
        finally:
            application.stores.close()
            connection.execute(f"DROP OWNED BY {role}".encode())
            connection.execute(f"DROP ROLE {role}".encode())


def test_a_token_that_was_known_ends_with_its_key(kept: Kept) -> None:
    made = kept.made
    tokens = {who: made.customer(who).token for who in made.resident()}
    group = "production"
    kid = made.site.application.signing_keys.active(group).id
    made.site.application.signing_keys.rotate(group, actor=ACTOR)
    kept.all_whole()
    made.site.application.signing_keys.revoke(kid, visibility_group=group, actor=ACTOR)
    for who, token in tokens.items():
        answer = kept.client.get("/embed/v1/records/users", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == (401 if who[0] == group else 200)
        assert found_in(answer.content) <= (set() if who[0] == group else made.markers.of(who))
    kept.all_whole()
