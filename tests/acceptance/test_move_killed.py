"""A customer with 100,000 records moves under constant writes, and the processes die at each step of it."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headrace import wiring
from headrace.domain.record_query import RecordQuery
from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.errors import RetryableError
from headrace.settings import Settings
from headrace.steps.records import Reading, RecordsStep
from tests.acceptance.campaign import Fleet, fleet_of
from tests.acceptance.conftest import NewDatabase
from tests.acceptance.project import Project, execute, query
from tests.acceptance.survival import ENVIRONMENT

pytestmark = pytest.mark.services

BIG, SMALL = 100_000, 500
LIMIT_S = 120.0
PAGE = 500

SOURCE = f"""
CREATE TABLE people (id bigint PRIMARY KEY, tenant text NOT NULL, name text,
                     version integer NOT NULL DEFAULT 1, updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE orders (id bigint PRIMARY KEY, tenant text NOT NULL, person_id bigint, amount numeric,
                     updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO people (id, tenant, name) SELECT n, 'big', 'big ' || n FROM generate_series(1, {BIG}) n;
INSERT INTO people (id, tenant, name)
  SELECT {BIG} + n, 'small', 'small ' || n FROM generate_series(1, {SMALL}) n;
INSERT INTO orders (id, tenant, person_id, amount) SELECT n, 'big', n * 5, n FROM generate_series(1, 20000) n;
CREATE INDEX ON people (updated_at, id);
CREATE INDEX ON orders (updated_at, id);
"""
ORACLE = """
SELECT p.tenant, p.id, p.name, p.version, count(o.id), coalesce(sum(o.amount), 0)
  FROM people p LEFT JOIN orders o ON o.person_id = p.id AND o.tenant = p.tenant
 WHERE p.tenant = '{tenant}' GROUP BY p.id ORDER BY p.id
"""
RECORDS = """
SELECT _customer_id, id, name, version, order_count, order_sum FROM {namespace}.people
 WHERE _customer_id = '{tenant}' ORDER BY id
"""
SCHEDULE = {"every": "1s", "cursor": "updated_at", "clock": "database", "page_rows": 5_000}


def definitions() -> dict[str, dict[str, Any]]:
    def data_source(name: str) -> dict[str, Any]:
        return {
            "nickname": name,
            "schema": "crm",
            "type": "postgres",
            "url": "${STORE_URL}",
            "namespace": name,
            "default_for": ["all"] if name == "main" else [],
        }

    source = {"model": "people", "app": "app", "key": ["id"], "customer": {"column": "tenant"}}
    return {
        "apps/app": {"name": "App", "type": "postgres", "url": "${SOURCE_URL}"},
        "schemas/crm": {"name": "CRM"},
        "visibility_groups/all": {"name": "All"},
        "data_sources/main": data_source("main"),
        "data_sources/side": data_source("side"),
        "models/people": {"name": "People", "schema": "crm"},
        "sources/people": {
            **source,
            "name": "People",
            "primary": True,
            "table": "people",
            "schedule": SCHEDULE,
            "properties": {
                "name": {"type": "string", "column": "name"},
                "version": {"type": "integer", "column": "version"},
            },
        },
        "sources/orders": {
            **source,
            "name": "Orders",
            "table": "orders",
            "mapping": {"person_id": "id"},
            "schedule": SCHEDULE,
            "properties": {
                "order_count": {"type": "integer", "aggregation": "count", "column": "id"},
                "order_sum": {"type": "decimal", "aggregation": "sum", "column": "amount"},
            },
        },
    }


@pytest.fixture
def project(new_database: NewDatabase, redis_server: str, tmp_path: Path) -> Iterator[Project]:
    with new_database() as source, new_database() as store, new_database() as control:
        with psycopg.connect(source) as connection:
            connection.execute(SOURCE.encode())
        yield Project.create(
            tmp_path / "project",
            definitions(),
            ENVIRONMENT
            | {
                "SOURCE_URL": source,
                "STORE_URL": store,
                "HEADRACE_CONTROL_URL": control,
                "HEADRACE_BROKER_URL": f"{redis_server.rstrip('/')}/{random.randrange(1, 16)}",
                "HEADRACE_QUEUE_NAMESPACE": f"headrace_test_{uuid.uuid4().hex[:12]}",
            },
            warm=True,
        )


@contextmanager
def in_thread(work: Callable[[], None], stopping: threading.Event) -> Iterator[None]:
    """The work goes on, again and again, until the block ends; its error comes out of it."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            while not stopping.is_set():
                work()
        except BaseException as error:  # noqa: BLE001 (raised again below)
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(30)
    if failed:
        raise failed[0]


@dataclass
class Writer:
    """Changes a few rows of both customers in each transaction."""

    connection: psycopg.Connection[Any]
    rng: random.Random
    commits: int = 0

    def write(self) -> None:
        people = [self.rng.randint(1, BIG + SMALL) for _ in range(10)]
        orders = [self.rng.randint(1, 20_000) for _ in range(5)]
        with self.connection.transaction():
            self.connection.execute(
                "UPDATE people SET version = version + 1, updated_at = now() WHERE id = ANY(%s)", [people]
            )
            self.connection.execute(
                "UPDATE orders SET amount = amount + 1, person_id = %s, updated_at = now()"
                " WHERE id = ANY(%s)",
                [self.rng.randint(1, BIG), orders],
            )
        self.commits += 1
        time.sleep(0.05)


@dataclass
class Reader:
    """A customer who reads: every record is always there, whole, and never older than it was seen before."""

    step: RecordsStep
    reading: Reading
    rng: random.Random
    versions: dict[int, int] = field(default_factory=dict)
    reads: int = 0
    places: set[str] = field(default_factory=set)

    def read(self) -> None:
        id_ = self.rng.randint(1, 300)
        try:
            route, text = self.step.one(self.reading, [str(id_)])
            self.places.add(str(route.data_source))
            assert text is not None, f"record {id_} is missing in {route}"
            self._see(json.loads(text))
            if self.reads % 20 == 0:
                route, page = self.step.page(self.reading, RecordQuery(limit=PAGE))
                items = [json.loads(item) for item in page.items]
                assert [item["id"] for item in items] == list(range(1, PAGE + 1)), (
                    f"half a customer in {route}"
                )
                for item in items:
                    self._see(item)
        except RetryableError:
            return  # a database was away, not a record
        self.reads += 1
        time.sleep(0.01)

    def _see(self, record: dict[str, Any]) -> None:
        before = self.versions.get(record["id"], 0)
        assert record["version"] >= before, f"{record} is older than {before}"
        self.versions[record["id"]] = record["version"]


STEPS = {
    "begun": ("SELECT 1 FROM move WHERE state = 'reading'", ("scheduler", "fetch-1", "fetch-2")),
    "reading": (
        "SELECT 1 FROM move_feed WHERE after_key IS NOT NULL AND NOT done",
        ("fetch-1", "fetch-2"),
    ),
    "merging": (
        "SELECT 1 FROM batch WHERE data_source_id = 'side' AND state = 'pending' AND attempts > 0",
        ("merge-1", "merge-2"),
    ),
    "read": (
        """
        SELECT 1 FROM move m WHERE state = 'reading'
           AND NOT EXISTS (SELECT 1 FROM move_feed f WHERE f.move_id = m.id AND NOT f.done)
           AND NOT EXISTS (SELECT 1 FROM batch b WHERE b.data_source_id = 'side' AND b.state = 'pending')
        """,
        ("merge-1", "merge-2"),
    ),
    "flipped": (
        "SELECT 1 FROM batch WHERE kind = 'drop' AND state = 'pending'",
        ("merge-1", "merge-2", "fetch-1", "fetch-2"),
    ),
}
"""When the control database answers so, these processes are killed."""


SLOW_DELETES = """
CREATE FUNCTION main.wait() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END';
CREATE TRIGGER wait BEFORE DELETE ON main.people FOR EACH STATEMENT EXECUTE FUNCTION main.wait();
"""
"""So that a drop takes long enough to be killed in the middle."""


WAITED_FOR = (
    "SELECT count(*) FROM move_feed WHERE NOT done",
    "SELECT data_source_id, count(*) FROM batch WHERE state = 'pending' GROUP BY 1",
    "SELECT source_id, last_error FROM feed",
)
"""What a move may wait for."""


def kill_at_each_step(fleet: Fleet, control: psycopg.Connection[Any]) -> list[str]:
    hit = []
    for step, (asked, victims) in STEPS.items():
        until = time.monotonic() + LIMIT_S
        while control.execute(asked.encode()).fetchone() is None:
            ended = control.execute("SELECT state FROM move WHERE state <> 'reading'").fetchone()
            if time.monotonic() > until:
                waits = [control.execute(query.encode()).fetchall() for query in WAITED_FOR]
                raise AssertionError(f"{step} never came: {waits}\n{fleet.tails()}")
            if ended is not None and step != "flipped":
                return hit
            time.sleep(0.005)
        for name in victims:
            fleet.kill_and_restart(name)
        hit.append(step)
    return hit


def wait_for(answer: Callable[[], bool], what: str, fleet: Fleet) -> None:
    until = time.monotonic() + LIMIT_S
    while not answer():
        assert time.monotonic() < until, f"{what} never came\n{fleet.tails()}"
        time.sleep(0.2)


def test_a_customer_moves_whole_through_a_kill_at_each_step(project: Project) -> None:
    environment = project.environment
    store, source = environment["STORE_URL"], environment["SOURCE_URL"]
    project.headrace("apply")

    def count(namespace: str, tenant: str) -> int:
        where = f"FROM {namespace}.people WHERE _customer_id = '{tenant}'"
        return int(query(store, f"SELECT count(*) {where}")[0][0])

    settings = Settings(control_url=environment["HEADRACE_CONTROL_URL"], config_dir=project.root / "config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORE_URL", store)
        patch.setenv("SOURCE_URL", source)
        with (
            fleet_of(project) as fleet,
            wiring.build(settings, process="test") as app,
            psycopg.connect(environment["HEADRACE_CONTROL_URL"], autocommit=True) as control,
            psycopg.connect(source, autocommit=True) as writing,
        ):
            wait_for(lambda: count("main", "big") == BIG, "the first load", fleet)
            project.headrace("sync")
            execute(store, SLOW_DELETES)
            created = dict(query(store, "SELECT id, _created_at FROM main.people WHERE _customer_id = 'big'"))
            (customer_id,) = control.execute(
                "SELECT id FROM customer WHERE provided_id = 'big'"
            ).fetchone() or ("",)
            app.route_cache.watch()
            model = app.catalogue().model(ModelId("people"))
            reader = Reader(app.records, Reading("all", "big", "crm", model), random.Random(1))
            writer = Writer(writing, random.Random(2))
            stopping = threading.Event()
            with in_thread(writer.write, stopping), in_thread(reader.read, stopping):
                move = app.moves.start(customer_id, "crm", DataSourceId("side"), actor="test")
                hit = kill_at_each_step(fleet, control)
                wait_for(lambda: app.moves.get(move.id).state == "moved", "the end of the move", fleet)
                wait_for(lambda: count("main", "big") == 0, "the drop", fleet)
            project.headrace("sync")

            for namespace, tenant in (("side", "big"), ("main", "small")):
                expected = query(source, ORACLE.format(tenant=tenant))
                found = query(store, RECORDS.format(namespace=namespace, tenant=tenant))
                assert sorted(set(found) ^ set(expected))[:10] == []
                assert len(found) == len(expected)
            assert (count("side", "small"), count("main", "big")) == (0, 0)
            moved = dict(query(store, "SELECT id, _created_at FROM side.people WHERE _customer_id = 'big'"))
            assert moved == created
            assert json.loads(project.headrace("verify", "--json"))
            assert project.control("SELECT count(*) FROM batch WHERE state = 'pending'") == [(0,)]
    print(f"\nkilled at {hit}; {writer.commits} commits, {reader.reads} reads in {sorted(reader.places)}")
    assert set(hit) >= {"begun", "reading", "merging", "flipped"}, hit
    assert reader.places == {"main", "side"}
    assert reader.reads > 100
