from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Info, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from headrace import gauges, metrics
from headrace.gauges import Asked, Gauge, Values

ROOT = Path(__file__).parents[2]
CATALOGUE = (ROOT / "docs" / "metrics.md").read_text()
ROW = re.compile(r"^\| `(headrace_\w+)` \| (\w+) \| ([\w, ]*)\|", re.MULTILINE)
LABEL_ROW = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \| ", re.MULTILINE)
SUFFIXES = {"counter": ("_total",), "histogram": ("_seconds", "_bytes")}
COUNTED = ("_pending", "_open", "_drifted", "_messages", "_class", "_paused", "_listening")
"""What gauges that are no amount of a unit count or say, which their names end with."""


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    rows = ROW.findall(CATALOGUE)
    return {name: (kind, frozenset(re.findall(r"\w+", labels))) for name, kind, labels in rows}


def families() -> Iterator[tuple[str, str, str, frozenset[str]]]:
    """Name, type, help and labels of every metric that a process of ours may have."""
    for metric in metrics.REGISTRY._collector_to_names:
        if isinstance(metric, Info):
            (family,) = metric.collect()
            yield f"{family.name}_info", "gauge", family.documentation, frozenset(family.samples[0].labels)
        elif isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            suffix = "_total" if family.type == "counter" else ""
            yield family.name + suffix, family.type, family.documentation, frozenset(metric._labelnames)
    for gauge in (*gauges.OF_CONTROL, *gauges.OF_BROKER, *gauges.OF_OUTBOXES):
        yield gauge.name, "gauge", gauge.help, frozenset(gauge.labels)


def test_the_catalogue_lists_exactly_the_metrics_that_exist_with_their_types_and_labels() -> None:
    assert documented() == {name: (kind, labels) for name, kind, _, labels in families()}


def test_every_metric_says_what_it_is_and_ends_with_its_unit() -> None:
    for name, kind, text, _ in families():
        assert len(text) > 20, name
        assert text.endswith("."), name
        ends = SUFFIXES.get(kind, ("_seconds", "_bytes", "_info", *COUNTED))
        assert name.endswith(ends), name


def test_the_catalogue_says_of_every_label_which_values_it_has() -> None:
    told = {label for row in LABEL_ROW.findall(CATALOGUE) for label in re.findall(r"\w+", row)}
    used = {label for _, labels in documented().values() for label in labels}
    assert told - set(documented()) == used


def test_every_metric_of_the_catalogue_is_fed_somewhere() -> None:
    names = {
        name
        for name, value in vars(metrics).items()
        if isinstance(value, MetricWrapperBase) and name != "BUILD"
    }
    modules = [path for part in ("src", "workers", "producers") for path in (ROOT / part).rglob("*.py")]
    fed = {
        name
        for path in modules
        for name in re.findall(r"\b([A-Z_]+)\.labels\(", path.read_text(encoding="utf-8"))
    }
    assert names == names & fed


SIZE = Gauge("headrace_size_bytes", "How big it is.", ("place",))


def exposed(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def test_gauges_are_asked_for_at_most_once_in_their_time() -> None:
    now, asked = [0.0], []

    def ask() -> Values:
        asked.append(now[0])
        return {SIZE: {("here",): len(asked), ("there",): 1_700_000_000.5}}

    registry = CollectorRegistry()
    registry.register(Asked([SIZE], ask, cache_s=10, monotonic=lambda: now[0]))
    assert 'headrace_size_bytes{place="here"} 1.0' in exposed(registry)
    now[0] = 9.9
    assert 'headrace_size_bytes{place="here"} 1.0' in exposed(registry)
    now[0] = 10.0
    text = exposed(registry)
    assert 'headrace_size_bytes{place="here"} 2.0' in text
    assert 'headrace_size_bytes{place="there"} 1.7000000005e+09' in text
    assert asked == [0.0, 10.0]


def test_gauges_are_asked_for_only_when_scraped_and_only_while_they_are_measured() -> None:
    registry, asked = CollectorRegistry(), []

    def ask() -> Values:
        asked.append(1)
        return {SIZE: {("here",): 4}}

    with gauges.measured(Asked([SIZE], ask), registry=registry):
        assert asked == []
        assert 'headrace_size_bytes{place="here"} 4.0' in exposed(registry)
    assert exposed(registry) == ""


def test_a_gauge_without_a_value_keeps_its_help_and_has_no_sample() -> None:
    registry = CollectorRegistry()
    registry.register(Asked([SIZE], dict))
    assert exposed(registry).splitlines() == [
        "# HELP headrace_size_bytes How big it is.",
        "# TYPE headrace_size_bytes gauge",
    ]


def test_gauges_that_cannot_be_measured_are_absent_and_not_stale_and_take_no_others_with_them() -> None:
    answers: list[Values | None] = [{SIZE: {("here",): 3}}, None]
    now = [0.0]

    def ask() -> Values:
        answer = answers.pop(0)
        if answer is None:
            raise ConnectionError("control is away")
        return answer

    other = Gauge("headrace_things_open", "Things that are open.")
    registry = CollectorRegistry()
    with gauges.measured(
        Asked([SIZE], ask, cache_s=1, monotonic=lambda: now[0]),
        Asked([other], lambda: {other: {(): 1}}),
        registry=registry,
    ):
        assert 'headrace_size_bytes{place="here"} 3.0' in exposed(registry)
        now[0] = 2.0
        assert "headrace_size_bytes" not in exposed(registry)
        assert "headrace_things_open 1.0" in exposed(registry)
