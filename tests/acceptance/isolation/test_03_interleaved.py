"""Customers take turns on the same connections, also after those failed, were cancelled, or took too long."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from headrace.domain.vocabulary import DataSourceId
from headrace.errors import HeadraceError
from headrace.stores import connect, postgres_reading, sqlite_reading
from headrace.stores.postgres_reading import PostgresReading
from headrace.stores.sqlite_reading import SqliteReading
from tests.acceptance.isolation.estate import READ_BY_ROLE, SERVED, Estate
from tests.acceptance.isolation.markers import Customer, found_in
from tests.integration.waiting import until
from tests.integration.web_client import WebClient

SLOW = {
    "postgres": "SELECT pg_sleep(20)",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
}


@pytest.fixture
def made(lasting: Estate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Estate]:
    """One connection of each data source, for whoever comes."""
    monkeypatch.setattr(connect, "_READING_KEPT", 1)
    lasting.site.application.stores.close()
    lasting.site.application.route_cache.watch()
    yield lasting
    lasting.site.application.stores.close()


def in_turn(made: Estate, client: WebClient, *, rounds: int = 2) -> None:
    """Each finds all that is its own, and nothing else."""
    order = made.resident() * rounds
    random.Random(1).shuffle(order)
    for who in order:
        assert made.found(client, who) == made.markers.of(who), who


def connections(made: Estate, data_source: str) -> Any:
    """Where the data source is read."""
    reader: Any = made.site.application.stores.reader(DataSourceId(data_source))
    return reader._connections


def read_as(made: Estate, data_source: str, who: Customer, sql: str) -> None:
    connections(made, data_source).fetch(sql, {}, customer=who[1])


def test_customers_in_turn_find_their_own(made: Estate, client: WebClient) -> None:
    in_turn(made, client, rounds=3)
    for data_source in SERVED:
        assert len(connections(made, data_source)._pool._idle) == 1


def test_after_an_error_the_next_one_finds_its_own(made: Estate, client: WebClient) -> None:
    for data_source in SERVED:
        first, *others = made.in_place(data_source)
        for who in others:
            with pytest.raises(HeadraceError):
                read_as(made, data_source, first, "SELECT nothing")
            assert made.found(client, who) == made.markers.of(who)
    in_turn(made, client, rounds=1)


def test_after_a_timeout_the_next_one_finds_its_own(
    made: Estate, client: WebClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_reading._SETTINGS, "statement_timeout", "50ms")
    monkeypatch.setattr(sqlite_reading, "STATEMENT_TIMEOUT_S", 0.05)
    for data_source in SERVED:
        first, second, *_ = made.in_place(data_source)
        with pytest.raises(HeadraceError):
            read_as(made, data_source, first, SLOW[connections(made, data_source).dialect.name])
        assert made.found(client, second) == made.markers.of(second)


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
def test_after_a_cancel_the_next_one_finds_its_own(made: Estate, client: WebClient, how: str) -> None:
    ended: list[BaseException] = []

    def slowly(data_source: str, who: Customer) -> None:
        try:
            read_as(made, data_source, who, SLOW["postgres"])
        except HeadraceError as error:
            ended.append(error)

    end = (
        f"SELECT {how}(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE '%pg_sleep(20)%' AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(os.environ["URL_POST_ONE"], autocommit=True) as connection:
        for data_source in READ_BY_ROLE:
            first, second, *_ = made.in_place(data_source)
            assert made.found(client, first)
            reading = threading.Thread(target=slowly, args=(data_source, first))
            reading.start()
            until(lambda: bool(connection.execute(end.encode()).fetchall()))
            reading.join()
            assert made.found(client, second) == made.markers.of(second)
    assert len(ended) == len(READ_BY_ROLE)


def test_a_sqlite_read_that_is_broken_off_leaves_nothing_to_the_next_one(
    made: Estate, client: WebClient
) -> None:
    first, second, *_ = made.in_place("lite_one")
    assert isinstance(connections(made, "lite_one"), SqliteReading)
    assert isinstance(connections(made, "post_one"), PostgresReading)
    assert made.found(client, first)
    raw = connections(made, "lite_one")._pool._idle[0].raw
    raw.set_progress_handler(lambda: True, 1)  # as `interrupt` from elsewhere
    with pytest.raises(HeadraceError):
        read_as(made, "lite_one", first, SLOW["sqlite"])
    assert made.found(client, second) == made.markers.of(second)


def test_requests_at_once_some_of_which_are_broken_off_answer_each_its_own(made: Estate) -> None:
    chance = random.Random(3)
    order = made.resident() * 8
    chance.shuffle(order)
    headers = {who: {"Authorization": f"Bearer {made.customer(who).token}"} for who in made.resident()}

    async def asked(client: httpx.AsyncClient, who: Customer) -> set[str] | None:
        request = client.get("/embed/v1/records/users", headers=headers[who])
        try:
            answer = await asyncio.wait_for(request, chance.choice([0.002, 0.02, 30, 30, 30]))
        except TimeoutError:
            return None
        assert answer.status_code == 200, answer.text
        return found_in(answer.content)

    async def all_at_once() -> list[set[str] | None]:
        transport = httpx.ASGITransport(app=made.site.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://here.test") as client:
            return list(await asyncio.gather(*(asked(client, who) for who in order)))

    answers = asyncio.run(all_at_once())
    for who, found in zip(order, answers, strict=True):
        assert found is None or (found and found <= made.markers.of(who)), who
    answered = len([found for found in answers if found is not None])
    assert 0 < answered < len(order), "none was broken off, or all"
