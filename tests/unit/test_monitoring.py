"""The dashboard and the alerts name what there is, and are what their tools read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from headrace import gauges, metrics
from headrace.gauges import Asked
from tests.conftest import missing
from tests.unit.test_metrics import ROOT, documented

PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
RULES = PROMETHEUS / "headrace.rules.yml"
TESTS = PROMETHEUS / "headrace.rules.test.yml"
SEVERITIES = {"critical", "warning", "info"}
VARIABLES = {"$source": ".*", "$__rate_interval": "5m", "$__range": "3h"}
VARIABLE = re.compile(r"\$\w+")
OTHERS = {"up", "ALERTS"} | {
    f"process_{name}"
    for name in ("start_time_seconds", "cpu_seconds_total", "resident_memory_bytes", "open_fds")
}
STRINGS = re.compile(r'"[^"]*"')
NAMES = re.compile(r"\b(?:headrace_\w+|process_\w+|up|ALERTS)\b")


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "headrace.json").read_text())
    return loaded


def expressions() -> Iterator[str]:
    """Every question of the dashboard, with its variables as Grafana would fill them in."""
    shown = dashboard()
    annotations = (note["expr"] for note in shown["annotations"]["list"] if "expr" in note)
    panels = (target["expr"] for panel in shown["panels"] for target in panel.get("targets", ()))
    for expression in (*panels, *annotations):
        yield VARIABLE.sub(lambda found: VARIABLES[found[0]], expression)


def asked_for(expression: str) -> set[str]:
    return set(NAMES.findall(STRINGS.sub('""', expression)))


def known() -> set[str]:
    histograms = {name for name, (kind, _) in documented().items() if kind == "histogram"}
    parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}
    return OTHERS | (set(documented()) - histograms) | parts


def test_alerts_and_dashboard_ask_for_metrics_of_the_catalogue_alone() -> None:
    asked = set().union(*map(asked_for, (*expressions(), *(rule["expr"] for rule in alerts()))))
    assert asked - known() == set()


def test_the_dashboard_shows_every_metric_of_the_catalogue() -> None:
    shown = {re.sub("_bucket$", "", name) for expression in expressions() for name in asked_for(expression)}
    assert set(documented()) - shown == set(), "add it to a panel of deploy/grafana/dashboards/headrace.json"


def test_labels_by_which_alerts_and_dashboard_group_are_those_of_the_metric() -> None:
    by = re.compile(r"\b(?:by|on) \(([\w, ]*)\)")
    labels = {label for _, names in documented().values() for label in names} | {"le", "instance", "job"}
    grouped = [m for e in (*expressions(), *(r["expr"] for r in alerts())) for m in by.findall(e)]
    assert {label for group in grouped for label in re.findall(r"\w+", group)} <= labels


def test_every_alert_says_how_bad_it_is_what_it_means_and_what_to_do() -> None:
    guide = (ROOT / "docs" / "alerts.md").read_text()
    told = re.findall(r"^## (\w+)$", guide, re.MULTILINE)
    assert [rule["alert"] for rule in alerts()] == told
    for rule in alerts():
        assert rule["labels"]["severity"] in SEVERITIES
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"


def test_every_alert_is_tested_to_fire_and_not_to_fire() -> None:
    fires: set[str] = set()
    waits: set[str] = set()
    for test in yaml.safe_load(TESTS.read_text())["tests"]:
        for asked in test["promql_expr_test"]:
            samples = asked.get("exp_samples", [])
            fires |= {re.findall(r'alertname="(\w+)"', sample["labels"])[0] for sample in samples}
            (pattern,) = re.findall(r'alertname=~?"([^"]+)"', asked["expr"])
            matching = {rule["alert"] for rule in alerts() if re.fullmatch(pattern, rule["alert"])}
            # Beside a sample that is expected stand series that must not fire: promtool compares all of them.
            waits |= matching if not samples or len(test["input_series"]) > 1 else set()
    assert fires == waits == {rule["alert"] for rule in alerts()}


def test_what_seldom_happens_to_a_source_is_counted_from_zero() -> None:
    rare = [m for rule in alerts() for m in re.findall(r"increase\((headrace_\w+)\[1h\]", rule["expr"])]
    assert len(rare) == 4
    metrics.begin_at_zero("a source of this test")
    for name in rare:
        assert metrics.REGISTRY.get_sample_value(name, {"source": "a source of this test"}) == 0


# --- by Prometheus's own tool -----------------------------------------------------------------------


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        missing("promtool", "apt-get install prometheus")
    return str(found)


def run(*command: str | Path, directory: Path = PROMETHEUS, given: bytes = b"") -> str:
    ended = subprocess.run(command, cwd=directory, input=given, capture_output=True, timeout=60)
    said = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == 0, said
    return said


def test_rules_and_configuration_are_what_prometheus_reads(promtool: str) -> None:
    assert f"{len(alerts())} rules found" in run(promtool, "check", "rules", RULES.name)
    assert "SUCCESS" in run(promtool, "check", "config", "prometheus.yml")


def test_prometheus_finds_no_fault_with_names_units_and_help_of_our_metrics(promtool: str) -> None:
    with gauges.measured(Asked(gauges.OF_CONTROL, dict), Asked(gauges.OF_BROKER, dict)):
        served = generate_latest(metrics.REGISTRY)
    assert b"headrace_feed_paused" in served
    assert run(promtool, "check", "metrics", given=served) == ""


def test_alerts_fire_for_what_they_are_about_and_for_nothing_else(promtool: str) -> None:
    assert "SUCCESS" in run(promtool, "test", "rules", TESTS.name)


def test_prometheus_understands_every_question_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": e} for n, e in enumerate(expressions())]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in run(promtool, "check", "rules", file)


# --- Grafana ----------------------------------------------------------------------------------------


def test_panels_lie_beside_and_below_each_other_and_say_what_they_show() -> None:
    taken: dict[tuple[int, int], str] = {}
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]
        assert panel["title"]
        assert panel["type"] == "row" or panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_what_is_provisioned_is_there() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/headrace.yml").read_text())["providers"]
    assert (source["type"], provider["type"]) == ("prometheus", "file")
