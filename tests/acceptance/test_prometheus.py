"""Prometheus itself scrapes the processes of the Procfile, and `headrace up`, while they work."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from headrace.gauges import OF_OUTBOXES
from tests.acceptance import procfile
from tests.acceptance.conftest import NewDatabase
from tests.acceptance.project import Project
from tests.acceptance.small_shop import (
    CUSTOMER,
    EMAIL,
    add_user,
    in_files,
    over_servers,
    until,
    until_merged,
)
from tests.prometheus import Prometheus, scraping
from tests.unit.test_metrics import CATALOGUE, documented
from tests.unit.test_monitoring import RULES, expressions

pytestmark = pytest.mark.services

UP = "up"
SCHEDULERS = {"scheduler", UP}
RELAYS = {"relay", UP}
CLOSED = re.compile(r"^\| `(\w+)` \|(?: what began a poll:)?((?: `[\w.]+`,?)+) ", re.MULTILINE)
"""A label of which the catalogue names every value, and those."""


@pytest.fixture
def several(new_database: NewDatabase, redis_server: str, tmp_path: Path) -> Iterator[Project]:
    with over_servers(tmp_path / "several", new_database, redis_server) as project:
        yield project


@pytest.fixture
def alone(tmp_path: Path) -> Project:
    return in_files(tmp_path / "alone")


def test_prometheus_has_every_metric_of_the_catalogue_of_every_process_and_nobody_s_name(
    several: Project, alone: Project, tmp_path: Path
) -> None:
    with procfile.running(several) as fleet:
        fleet.start(alone, UP, "headrace.cli.main", UP)
        addresses = fleet.addresses()
        for address in addresses.values():
            until(lambda a=address: httpx.get(f"http://{a}/readyz").text == "ok\n", "not ready")
            assert httpx.get(f"http://{address}/healthz").text == "ok\n"
        for project in (several, alone):
            add_user(project, 1)
            until_merged(project, 1)
        with scraping(tmp_path / "prometheus", addresses, rules=RULES) as prometheus:
            until(lambda: _scraped(prometheus, addresses, times=1), "some process is not scraped")
            for project in (several, alone):
                add_user(project, 2)
                until_merged(project, 2)
            # A rate needs two scrapes after what it counts began.
            until(lambda: _scraped(prometheus, addresses, times=4), "some process is scraped no more")
            _has_the_catalogue(prometheus, addresses)
            _tells_of_what_happened(prometheus)
            _names_nobody(prometheus)
            _answers_the_dashboard(prometheus)
        assert {name: p.stop(limit_s=25) for name, p in fleet.processes.items()} == dict.fromkeys(
            addresses, 0
        )


def _scraped(prometheus: Prometheus, addresses: Mapping[str, str], *, times: int) -> bool:
    """Each process has answered so often at least."""
    answers = prometheus.values('sum_over_time(up{job="headrace"}[5m])')
    return {labels["instance"] for labels, value in answers if value >= times} == set(addresses)


def _has_the_catalogue(prometheus: Prometheus, addresses: Mapping[str, str]) -> None:
    """Every process tells of every metric with its help, but that schedulers or relays alone have some."""
    of_all = {name for name, (kind, _) in documented().items() if kind != "gauge"} | {"headrace_build_info"}
    of_relays = {gauge.name for gauge in OF_OUTBOXES}
    of_schedulers = documented().keys() - of_all - of_relays
    for process in addresses:
        told = prometheus.ask("targets/metadata", match_target=f'{{instance="{process}"}}')
        helped = {line["metric"]: line["help"] for line in told if line["help"]}
        wanted = set(of_all)
        wanted |= of_schedulers if process in SCHEDULERS else set()
        wanted |= of_relays if process in RELAYS else set()
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
    families = "|".join(documented())
    for labels in series:
        assert re.fullmatch(f"(?:{families})(?:_bucket|_count|_sum)?", labels["__name__"]), labels
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
