"""Prometheus itself scrapes the processes of the Procfile, and `headrace up`, while they work."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance import procfile
from tests.acceptance.conftest import NewDatabase
from tests.acceptance.project import Project, execute, sqlite_url
from tests.acceptance.survival import ENVIRONMENT
from tests.prometheus import Prometheus, scraping
from tests.unit.test_metrics import CATALOGUE, documented
from tests.unit.test_monitoring import RULES, expressions

pytestmark = pytest.mark.services

SOON_S = 20.0
UP = "up"
SCHEDULERS = {"scheduler", UP}
CUSTOMER = "initech-7f3a"
EMAIL = "ada-91bc@example.com"
USERS = """
CREATE TABLE users (id integer PRIMARY KEY, tenant text NOT NULL, email text,
                    updated_at {timestamp} NOT NULL DEFAULT CURRENT_TIMESTAMP)
"""
CLOSED = re.compile(r"^\| `(\w+)` \|(?: what began a poll:)?((?: `[\w.]+`,?)+) ", re.MULTILINE)
"""A label of which the catalogue names every value, and those."""
ADD = "INSERT INTO users (id, tenant, email) VALUES ({id}, '{customer}', '{email}')"


def definitions(kind: str) -> dict[str, dict[str, Any]]:
    return {
        "apps/shop": {"name": "Shop", "type": kind, "url": "${SHOP_URL}"},
        "schemas/crm": {"name": "CRM"},
        "visibility_groups/all": {"name": "All"},
        "data_sources/main": {
            "nickname": "Main",
            "schema": "crm",
            "default_for": ["all"],
            "type": kind,
            "url": "${STORE_URL}",
        },
        "models/users": {"name": "Users", "schema": "crm"},
        "sources/users": {
            "name": "Users",
            "model": "users",
            "primary": True,
            "app": "shop",
            "table": "users",
            "key": ["id"],
            "customer": {"column": "tenant"},
            "schedule": {"every": "1s", "cursor": "updated_at", "clock": "database"},
            "properties": {"email": {"type": "email", "column": "email"}},
        },
    }


@pytest.fixture
def several(new_database: NewDatabase, redis_server: str, tmp_path: Path) -> Iterator[Project]:
    """A project for the processes of the Procfile."""
    with new_database() as shop, new_database() as store, new_database() as control:
        execute(shop, USERS.format(timestamp="timestamptz"))
        environment = ENVIRONMENT | {
            "SHOP_URL": shop,
            "STORE_URL": store,
            "HEADRACE_CONTROL_URL": control,
            "HEADRACE_BROKER_URL": redis_server,
            "HEADRACE_EVENTS_URL": redis_server,
            "HEADRACE_QUEUE_NAMESPACE": f"headrace_test_{uuid.uuid4().hex[:12]}",
            "HEADRACE_SECRET_KEYS": "a passphrase of this test",
            "HEADRACE_HTTP_PORT": "0",
        }
        yield Project.create(tmp_path / "several", definitions("postgres"), environment, warm=True)


@pytest.fixture
def alone(tmp_path: Path) -> Project:
    """A project for `headrace up`: SQLite, no broker."""
    urls = {f"{name.upper()}_URL": sqlite_url(tmp_path / f"{name}.db") for name in ("shop", "store")}
    execute(urls["SHOP_URL"], USERS.format(timestamp="text"))
    return Project.create(tmp_path / "alone", definitions("sqlite"), ENVIRONMENT | urls, warm=True)


def until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_prometheus_has_every_metric_of_the_catalogue_of_every_process_and_nobody_s_name(
    several: Project, alone: Project, tmp_path: Path
) -> None:
    several.headrace("db", "upgrade")
    several.headrace("apply")
    with procfile.running(several) as fleet:
        fleet.start(alone, UP, "headrace.cli.main", UP)
        addresses = fleet.addresses()
        for address in addresses.values():
            until(lambda a=address: httpx.get(f"http://{a}/readyz").text == "ok\n", "not ready")
            assert httpx.get(f"http://{address}/healthz").text == "ok\n"
        for project in (several, alone):
            _add(project, 1)
        with scraping(tmp_path / "prometheus", addresses, rules=RULES) as prometheus:
            until(lambda: _scraped(prometheus, addresses, times=1), "some process is not scraped")
            for project in (several, alone):
                _add(project, 2)
            # A rate needs two scrapes after what it counts began.
            until(lambda: _scraped(prometheus, addresses, times=4), "some process is scraped no more")
            _has_the_catalogue(prometheus, addresses)
            _tells_of_what_happened(prometheus)
            _names_nobody(prometheus)
            _answers_the_dashboard(prometheus)
        assert {name: p.stop(limit_s=25) for name, p in fleet.processes.items()} == dict.fromkeys(
            addresses, 0
        )


def _add(project: Project, id_: int) -> None:
    """A user of this id comes to the source, and is merged."""
    execute(project.environment["SHOP_URL"], ADD.format(id=id_, customer=CUSTOMER, email=EMAIL))
    batches = "SELECT count(*), count(merged_at) FROM batch"
    until(lambda: project.control(batches) == [(id_, id_)], f"user {id_} is not merged")


def _scraped(prometheus: Prometheus, addresses: Mapping[str, str], *, times: int) -> bool:
    """Each process has answered so often at least."""
    answers = prometheus.values('sum_over_time(up{job="headrace"}[5m])')
    return {labels["instance"] for labels, value in answers if value >= times} == set(addresses)


def _has_the_catalogue(prometheus: Prometheus, addresses: Mapping[str, str]) -> None:
    """Every process tells of every metric with its help, but that schedulers alone have some gauges."""
    of_all = {name for name, (kind, _) in documented().items() if kind != "gauge"} | {"headrace_build_info"}
    for process in addresses:
        told = prometheus.ask("targets/metadata", match_target=f'{{instance="{process}"}}')
        helped = {line["metric"]: line["help"] for line in told if line["help"]}
        wanted = set(documented()) if process in SCHEDULERS else of_all
        assert {name for name in wanted if not _family(name) & set(helped)} == set(), process
    metadata = prometheus.ask("metadata")
    assert all(_family(name) & set(metadata) for name in documented())


def _family(name: str) -> set[str]:
    """The names that a metric's family may have: OpenMetrics leaves out what the type adds."""
    return {name, re.sub("_(total|info)$", "", name)}


def _tells_of_what_happened(prometheus: Prometheus) -> None:
    def values(expression: str) -> dict[str, float]:
        return {labels.get("instance", ""): value for labels, value in prometheus.values(expression)}

    assert set(values('headrace_feed_class{feed="users@shop", class="exact"} == 1')) == SCHEDULERS
    assert set(values('headrace_feed_paused{feed="users@shop"} == 0')) == SCHEDULERS
    assert set(values("headrace_batches_pending == 0")) == SCHEDULERS
    assert set(values('headrace_queue_messages{queue="headrace.merge", state="ready"}')) == SCHEDULERS
    for gauge in ("watermark", "last_success"):
        ages = values(f'time() - headrace_{gauge}_timestamp_seconds{{feed="users@shop"}}')
        assert set(ages) == SCHEDULERS
        assert all(-5 < age < 120 for age in ages.values()), (gauge, ages)
    assert sum(values('headrace_rows_fetched_total{source="users"}').values()) >= 4
    assert sum(values('headrace_rows_merged_total{model="users", result="inserted"}').values()) == 4
    assert sum(values('headrace_freshness_seconds_count{source="users"}').values()) >= 2
    slowest = 'headrace_freshness_seconds_bucket{source="users", le="60.0"}'
    assert sum(values(slowest).values()) == sum(values("headrace_freshness_seconds_count").values())


def _names_nobody(prometheus: Prometheus) -> None:
    """No label has a customer, a key or a value; those of closed lists have only what the catalogue names."""
    closed = dict(CLOSED.findall(CATALOGUE))
    assert {"trigger", "result", "class", "state"} <= set(closed)
    series = prometheus.ask("series", **{"match[]": '{__name__=~"headrace_.*"}'})
    assert len(series) > 50
    for labels in series:
        assert not {CUSTOMER, EMAIL} & set(labels.values())
        for label, named in closed.items():
            assert labels.get(label) in {None, *re.findall(r"[\w.]+", named)}, labels


def _answers_the_dashboard(prometheus: Prometheus) -> None:
    asked = list(expressions())
    answered = [expression for expression in asked if prometheus.values(expression)]
    assert len(answered) > len(asked) / 2, sorted(set(asked) - set(answered))
    rules = prometheus.ask("rules")["groups"][0]["rules"]
    assert {rule["health"] for rule in rules} == {"ok"}, rules
    firing = {rule["name"] for rule in rules if rule["state"] == "firing"}
    assert firing == set()
