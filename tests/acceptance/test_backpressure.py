"""A data source is away while the source keeps writing: what waits for it stays within its bounds, others go
on, and all drains after.

`HEADRACE_STOPPED_S` says for how long it is away (`make backpressure`: two minutes).
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.acceptance.campaign import Fleet, fleet_of, within
from tests.acceptance.conftest import NewDatabase
from tests.acceptance.project import Project, query
from tests.acceptance.survival import ENVIRONMENT
from tests.proxy import Proxy

pytestmark = pytest.mark.services

STOPPED_S = float(os.environ.get("HEADRACE_STOPPED_S", "5"))
MAX_BATCHES = 6
DRAINED_WITHIN_S = 60.0
FRESH_WITHIN_S = 5.0
MAY_GROW_MIB = 64

SOURCE = """
CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant text NOT NULL, note text,
                     updated_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON people (updated_at, id);
INSERT INTO people (tenant, note) SELECT t, 'first' FROM unnest(ARRAY['near', 'far']) t;
"""
WRITE = """
INSERT INTO people (tenant, note)
SELECT (ARRAY['near', 'far'])[1 + n % 2], repeat(md5(n::text), 8) FROM generate_series(1, 20) n
"""
PENDING = "SELECT count(*), coalesce(sum(payload_bytes), 0) FROM batch WHERE state = 'pending'"


def definitions(schedule: dict[str, Any]) -> dict[str, dict[str, Any]]:
    def data_source(nickname: str, url: str) -> dict[str, Any]:
        store = {"schema": "crm", "type": "postgres", "url": url, "namespace": nickname}
        return {"nickname": nickname, **store}

    return {
        "apps/app": {"name": "App", "type": "postgres", "url": "${SOURCE_URL}"},
        "schemas/crm": {"name": "CRM"},
        "visibility_groups/all": {"name": "All"},
        "data_sources/near": {**data_source("near", "${NEAR_URL}"), "default_for": ["all"]},
        "data_sources/far": data_source("far", "${FAR_URL}"),
        "customers/far": {"name": "Far", "data_sources": {"crm": "far"}},
        "models/people": {"name": "People", "schema": "crm"},
        "sources/people": {
            "name": "People", "model": "people", "primary": True, "app": "app", "table": "people",
            "key": ["id"], "customer": {"column": "tenant"}, "schedule": schedule,
            "properties": {"note": {"type": "string", "column": "note"}},
        },
    }  # fmt: skip


@dataclass
class Site:
    """A source that is written to, a data source near, and one behind a link that can be cut."""

    project: Project
    source_url: str
    store_url: str
    link: Proxy
    written: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Twenty rows ten times a second, half of them for each customer."""
        stop = threading.Event()

        def write() -> None:
            with psycopg.connect(self.source_url, autocommit=True) as connection:
                while not stop.wait(0.1):
                    connection.execute(WRITE)

        thread = threading.Thread(target=write, name="writer")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=30)
        assert not thread.is_alive()

    def ids(self, tenant: str) -> set[int]:
        statement = f"SELECT id FROM people WHERE tenant = '{tenant}'"
        return {id_ for (id_,) in query(self.source_url, statement)}

    def merged(self, tenant: str) -> set[int]:
        return {id_ for (id_,) in query(self.store_url, f"SELECT id FROM {tenant}.people")}

    def pending(self) -> tuple[int, int]:
        ((batches, size),) = self.project.control(PENDING)
        return int(batches), int(size)

    def cut(self) -> list[str]:
        rows = self.project.control("SELECT data_source_id FROM feed_log WHERE cut_at IS NOT NULL")
        return [name for (name,) in rows]

    def is_drained(self) -> bool:
        whole = all(self.merged(tenant) == self.ids(tenant) for tenant in ("near", "far"))
        return whole and self.pending() == (0, 0) and not self.cut()


@pytest.fixture
def site(new_database: NewDatabase, tmp_path: Path, redis_server: str) -> Iterator[Site]:
    with new_database() as source_url, new_database() as store_url, new_database() as control_url:
        parts = urlsplit(store_url)
        link = Proxy(parts.hostname or "127.0.0.1", parts.port or 5432)
        with psycopg.connect(source_url, autocommit=True) as connection:
            connection.execute(SOURCE)
        schedule = {"every": "1s", "cursor": "updated_at", "clock": "database", "page_rows": 100}
        environment = ENVIRONMENT | {
            "SOURCE_URL": source_url,
            "NEAR_URL": store_url,
            "FAR_URL": f"postgresql://postgres@127.0.0.1:{link.port}{parts.path}",
            "HEADRACE_CONTROL_URL": control_url,
            "HEADRACE_BROKER_URL": redis_server,
            "HEADRACE_QUEUE_NAMESPACE": f"headrace-test-{uuid.uuid4().hex[:8]}",
            "HEADRACE_MAX_PENDING_BATCHES": str(MAX_BATCHES),
        }
        project = Project.create(tmp_path / "project", definitions(schedule), environment, warm=True)
        project.headrace("sync")
        try:
            yield Site(project, source_url, store_url, link)
        finally:
            link.close()


def resident_mib(fleet: Fleet) -> float:
    """Of the process that has most."""
    pages = [
        int(Path(f"/proc/{process.popen.pid}/statm").read_text().split()[1])
        for process in fleet.running.values()
    ]
    return max(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def watch(seconds: float, look: Callable[[], None]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        look()
        time.sleep(0.1)


def test_what_waits_for_a_store_that_is_away_is_bounded_and_drains_after(site: Site) -> None:
    """All that the feed writes to is away: it waits."""
    site.project.environment["NEAR_URL"] = site.project.environment["FAR_URL"]
    most: list[int] = []
    with fleet_of(site.project) as fleet, site.writing():
        assert within(DRAINED_WITHIN_S, lambda: len(site.merged("near")) > 200), fleet.tails()
        before = resident_mib(fleet)
        site.link.go_away()
        assert within(DRAINED_WITHIN_S, lambda: site.pending()[0] >= MAX_BATCHES), fleet.tails()
        watch(STOPPED_S, lambda: most.append(site.pending()[0]))
        # One of the two may be over its limit before the other is.
        assert max(most) <= 4 * MAX_BATCHES
        assert site.cut() == []
        assert resident_mib(fleet) < before + MAY_GROW_MIB
        site.link.come_back()
    with fleet_of(site.project) as fleet:
        assert within(DRAINED_WITHIN_S, site.is_drained), fleet.tails()


def test_a_store_that_is_away_stops_no_other_and_is_made_whole_when_it_is_back(site: Site) -> None:
    with fleet_of(site.project) as fleet:
        with site.writing():
            assert within(DRAINED_WITHIN_S, lambda: len(site.merged("far")) > 200), fleet.tails()
            site.link.go_away()
            assert within(DRAINED_WITHIN_S, lambda: site.cut() == ["far"]), fleet.tails()
            behind = site.merged("far")
            watch(STOPPED_S, lambda: None)
            assert site.pending()[0] <= 4 * MAX_BATCHES
            now = site.ids("near")
            assert within(FRESH_WITHIN_S, lambda: now <= site.merged("near")), fleet.tails()
            assert site.merged("far") == behind
            assert "data source far takes no batches" in site.project.headrace("status")
            site.link.come_back()
        assert within(DRAINED_WITHIN_S, site.is_drained), fleet.tails()
