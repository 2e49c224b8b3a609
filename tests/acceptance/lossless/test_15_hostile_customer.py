"""Acceptance 15: 20 customers, one hostile (huge rows, bad values, a changed schema): 0 foreign rows, and the
others' lag is within twice that without it."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.conftest import NewDatabase
from tests.acceptance.project import HEADRACE, Process, Project, query

CUSTOMERS = [f"c{n:02}" for n in range(1, 21)]
HOSTILE, OTHERS = CUSTOMERS[-1], CUSTOMERS[:-1]
ROUNDS = 2
SEEN_WITHIN_S = 60.0
LEAST_LAG_S = 1.0
"""The feeds' schedule: what comes sooner says nothing of others."""

PROPERTIES = {
    "name": "string", "email": "email", "age": "integer", "born": "date", "seen": "datetime",
    "score": "decimal", "about": "json",
}  # fmt: skip
TABLE = """
CREATE TABLE {schema}.people (
  id integer PRIMARY KEY, name text, email text, age text, born date, seen timestamptz, score numeric,
  about text, updated_at timestamptz NOT NULL DEFAULT clock_timestamp())
"""
# The source takes all of it. None of it can be a value, but the name.
POISON = """
INSERT INTO {schema}.people (id, name, email, age, born, seen, score, about)
SELECT n, '{schema} poison ' || n, repeat('@', 50000), 'old', 'infinity', '-infinity', 'NaN', '{{"a": '
FROM generate_series({first}, {last}) n
"""
HUGE = """
INSERT INTO {schema}.people (id, name, about)
SELECT n, '{schema} huge ' || n, '"' || repeat('x', 8 * 1024 * 1024) || '"'
FROM generate_series({first}, {last}) n
"""
BIG = """
INSERT INTO {schema}.people (id, name, about)
SELECT n, '{schema} big ' || n, '"' || repeat('y', 200 * 1024) || '"' FROM generate_series({first}, {last}) n
"""


@pytest.fixture
def project(new_database: NewDatabase, tmp_path: Path) -> Iterator[Project]:
    """Each customer has a schema, and an app that leads there, in one database; all share a data source."""
    with new_database() as source, new_database() as store, new_database() as control:
        with psycopg.connect(source, autocommit=True) as connection:
            for customer in CUSTOMERS:
                connection.execute(f"CREATE SCHEMA {customer}".encode())
                connection.execute(TABLE.format(schema=customer).encode())
        yield Project.create(
            tmp_path / "project",
            definitions(),
            {
                "SOURCE_URL": source,
                "STORE_URL": store,
                "HEADRACE_CONTROL_URL": control,
                "HEADRACE_METRICS_PORT": "0",
                "HEADRACE_SWEEP_EVERY_S": "1",
            },
            warm=True,
        )


def definitions() -> dict[str, dict[str, Any]]:
    apps = {
        f"apps/{customer}": {
            "name": customer,
            "type": "postgres",
            "url": f"${{SOURCE_URL}}?options=-csearch_path%3D{customer}",
            "customer": customer,
        }
        for customer in CUSTOMERS
    }
    return apps | {
        "schemas/crm": {"name": "CRM"},
        "visibility_groups/all": {"name": "All"},
        "data_sources/main": {
            "nickname": "Main",
            "schema": "crm",
            "default_for": ["all"],
            "type": "postgres",
            "url": "${STORE_URL}",
        },
        "models/people": {"name": "People", "schema": "crm"},
        "sources/people": {
            "name": "People",
            "model": "people",
            "primary": True,
            "apps": CUSTOMERS,
            "table": "people",
            "key": ["id"],
            "schedule": {"every": "1s", "cursor": "updated_at", "clock": "database"},
            "properties": {name: {"type": kind, "column": name} for name, kind in PROPERTIES.items()},
        },
    }


@contextmanager
def running(project: Project) -> Iterator[None]:
    """Headrace runs in a process of its own."""
    log = project.root / "up.log"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [HEADRACE, "up"],
            cwd=project.root,
            env=project._whole_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    process = Process("headrace up", "up", log, popen)
    try:
        yield
        assert popen.poll() is None, process.tail()
        assert process.stop(limit_s=40) == 0, process.tail()
    finally:
        process.discard()


def lags(project: Project, source: psycopg.Connection[Any], id_: int) -> list[float]:
    """How long a new row of each other customer takes to be a record, in seconds."""
    since: dict[str, float] = {}
    for customer in OTHERS:
        statement = f"INSERT INTO {customer}.people (id, name, age) VALUES ({id_}, '{customer} {id_}', '7')"
        source.execute(statement.encode())
        since[customer] = time.monotonic()
    found: dict[str, float] = {}
    with psycopg.connect(project.environment["STORE_URL"], autocommit=True) as store:
        while len(found) < len(OTHERS):
            seen = store.execute("SELECT _customer_id FROM headrace.people WHERE id = %s", [id_]).fetchall()
            now = time.monotonic()
            for (customer,) in seen:
                found.setdefault(customer, now - since[customer])
            late = sorted(since.keys() - found.keys())
            assert now < max(since.values()) + SEEN_WITHIN_S, f"{late} wait since {SEEN_WITHIN_S} s"
            time.sleep(0.05)
    return list(found.values())


def test_a_hostile_customer_harms_no_other(project: Project) -> None:
    project.headrace("apply")
    with (
        psycopg.connect(project.environment["SOURCE_URL"], autocommit=True) as source,
        running(project),
    ):
        lags(project, source, 1)  # waits for its start
        calm = [lag for n in range(ROUNDS) for lag in lags(project, source, 10 + n)]
        harmed: list[float] = []
        for n, attack in enumerate((POISON, HUGE, BIG)):
            first = 1_000 * (n + 1)
            last = first + (900 if attack is POISON else 20)
            source.execute(attack.format(schema=HOSTILE, first=first, last=last).encode())
            harmed += lags(project, source, 100 + n)
        source.execute(f"ALTER TABLE {HOSTILE}.people ALTER age TYPE integer USING 0".encode())
        harmed += lags(project, source, 200)
        status = json.loads(project.headrace("status", "--json"))

    print(
        f"\nlag: {statistics.median(calm):.2f} s calm, {statistics.median(harmed):.2f} s with a hostile one"
    )
    assert statistics.median(harmed) <= 2 * max(statistics.median(calm), LEAST_LAG_S)
    states = {feed["app"]: feed["state"] for feed in status}
    assert states.pop(HOSTILE) == "paused"
    assert "paused" not in states.values()
    assert_only_own_rows(project)


def assert_only_own_rows(project: Project) -> None:
    rows = query(project.environment["STORE_URL"], "SELECT _customer_id, id, name, age FROM headrace.people")
    by_customer: dict[str, set[tuple[Any, ...]]] = {customer: set() for customer in CUSTOMERS}
    for customer, *values in rows:
        by_customer[customer].add(tuple(values))
    foreign = [row for row in rows if not row[2].startswith(row[0])]
    assert foreign == []
    for customer in OTHERS:
        own = f"SELECT id, name, age::bigint FROM {customer}.people"
        assert by_customer[customer] == set(query(project.environment["SOURCE_URL"], own))
    # What the hostile one wrote before it changed its schema is there, as far as it is anything.
    assert len(by_customer[HOSTILE]) == 901 + 21 + 21
    assert all(age is None for _id, _name, age in by_customer[HOSTILE])
