"""What the soak runs over: clubs, each a model of two sources, so that 25 of them are 50 feeds.

Members belong to a customer, which says where their records live; visits are counted at their member.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

from tests.acceptance.project import query

CLUBS: Final = tuple(f"{number:02}" for number in range(25))
TABLES: Final = tuple(f"{kind}_{club}" for club in CLUBS for kind in ("member", "visit"))
"""Each is a source of its own, and so a feed."""
ASKED: Final = CLUBS[-5:]
"""Clubs whose sources are read when a trigger asks for it, and hardly ever otherwise."""
HOMES: Final = {"acme": "east", "globex": "west"}
"""The data source of each customer."""
FIRST_MEMBERS: Final = 60
FIRST_VISITS: Final = 120

SCHEMA: Final = """
CREATE TABLE member_{club} (id bigint PRIMARY KEY, tenant text NOT NULL, name text, score integer,
                            beat bigint NOT NULL DEFAULT 0, updated_at timestamptz DEFAULT now());
CREATE TABLE visit_{club} (id bigint PRIMARY KEY, tenant text NOT NULL, member_id bigint,
                           amount numeric(12, 2), beat bigint NOT NULL DEFAULT 0,
                           updated_at timestamptz DEFAULT now());
CREATE INDEX ON member_{club} (updated_at, id);
CREATE INDEX ON member_{club} (id) WHERE updated_at IS NULL;
CREATE INDEX ON visit_{club} (updated_at, id);
CREATE INDEX ON visit_{club} (id) WHERE updated_at IS NULL;
CREATE SEQUENCE member_{club}_ids START 1000;
CREATE SEQUENCE visit_{club}_ids START 1000;
INSERT INTO member_{club} (id, tenant, name, score)
SELECT id, CASE WHEN id % 2 = 0 THEN 'globex' ELSE 'acme' END, 'member ' || id, id % 10
  FROM generate_series(1, {members}) AS id;
INSERT INTO visit_{club} (id, tenant, member_id, amount)
SELECT id, CASE WHEN id % 2 = 0 THEN 'globex' ELSE 'acme' END, 1 + (id - 1) % {members}, id / 4.0
  FROM generate_series(1, {visits}) AS id;
ANALYZE member_{club}, visit_{club};
"""

PROPERTIES: Final = ("id", "name", "score", "beat", "visits", "spent", "visit_beat")
ORACLE: Final = """
SELECT m.tenant, m.id, m.name, m.score, m.beat, coalesce(v.visits, 0), coalesce(v.spent, 0), v.visit_beat
  FROM member_{club} m
  LEFT JOIN (SELECT tenant, member_id, count(id) AS visits, sum(amount) AS spent, max(beat) AS visit_beat
               FROM visit_{club} GROUP BY tenant, member_id) v
         ON v.tenant = m.tenant AND v.member_id = m.id
"""
"""Customer, then the values of PROPERTIES."""

Values = tuple[Any, ...]
Found = dict[tuple[str, str, str, int], Values]
"""Values by data source, club, customer and key."""


def probe(club: str) -> int:
    """The row of both tables that the lag is measured by: nothing else changes it."""
    return 1 + int(club) % 2


def home(club: str) -> str:
    """The data source of the probe."""
    return HOMES["globex" if probe(club) % 2 == 0 else "acme"]


def create(url: str) -> None:
    """The tables exist, with their first rows."""
    with psycopg.connect(url) as connection:
        for club in CLUBS:
            made = SCHEMA.format(club=club, members=FIRST_MEMBERS, visits=FIRST_VISITS)
            connection.execute(made.encode())


def expected(url: str) -> Found:
    """The records as they should be, by plain SQL over the source."""
    return {
        (HOMES[customer], club, customer, key): (key, *values)
        for club in CLUBS
        for customer, key, *values in query(url, ORACLE.format(club=club))
    }


def records(data_source: str, url: str) -> Found:
    """The records that a data source has."""
    columns = ", ".join(PROPERTIES)
    return {
        (data_source, club, customer, key): (key, *values)
        for club in CLUBS
        for customer, key, *values in query(url, f"SELECT _customer_id, {columns} FROM headrace.club_{club}")
    }


def definitions() -> dict[str, Any]:
    """URLs come from the environment."""
    made: dict[str, Any] = {
        "apps/clubs": {"name": "Clubs", "type": "postgres", "url": "${CLUBS_URL}"},
        "schemas/clubs": {"name": "Clubs"},
        "visibility_groups/production": {"name": "Production"},
        "data_sources/east": _data_source("east") | {"default_for": ["production"]},
        "data_sources/west": _data_source("west"),
    }
    for name, data_source in HOMES.items():
        places = {"clubs": data_source}
        made[f"customers/{name}"] = {"name": name.title(), "provided_id": name, "data_sources": places}
    for club in CLUBS:
        made[f"models/club_{club}"] = {"name": f"Club {club}", "schema": "clubs"}
        made[f"sources/member_{club}"] = _source(club, "member") | {
            "primary": True,
            "properties": {
                "id": {"type": "integer", "column": "id"},
                "name": {"type": "string", "column": "name"},
                "score": {"type": "integer", "column": "score"},
                "beat": {"type": "integer", "column": "beat"},
            },
        }
        made[f"sources/visit_{club}"] = _source(club, "visit") | {
            "mapping": {"member_id": "id"},
            "properties": {
                "visits": {"type": "integer", "aggregation": "count", "column": "id"},
                "spent": {"type": "decimal", "aggregation": "sum", "column": "amount"},
                "visit_beat": {"type": "integer", "aggregation": "max", "column": "beat"},
            },
        }
    return made


def _data_source(name: str) -> dict[str, Any]:
    return {
        "nickname": name.title(),
        "schema": "clubs",
        "visibility_groups": ["production"],
        "type": "postgres",
        "url": f"${{{name.upper()}_URL}}",
        "events": True,
    }


def _source(club: str, kind: str) -> dict[str, Any]:
    return {
        "name": f"{kind.title()}s of club {club}",
        "model": f"club_{club}",
        "app": "clubs",
        "table": f"public.{kind}_{club}",
        "key": ["id"],
        "customer": {"column": "tenant"},
        "schedule": {
            "every": "10m" if club in ASKED else "1s",
            "cursor": "updated_at",
            "clock": "database",
            "reconcile_every": "2m",
        },
    }
