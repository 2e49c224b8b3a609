from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, Info, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from headrace import metrics
from headrace.metrics import Pending, PendingBatches

ROOT = Path(__file__).parents[2]
CATALOGUE = ROOT / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(headrace_\w+)` \| (\w+) \| ([\w, ]*)\|", re.MULTILINE)


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    rows = ROW.findall(CATALOGUE.read_text())
    return {name: (kind, frozenset(re.findall(r"\w+", labels))) for name, kind, labels in rows}


def registered() -> dict[str, tuple[str, frozenset[str]]]:
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for metric in metrics.REGISTRY._collector_to_names:
        if isinstance(metric, Info):
            (family,) = metric.collect()
            found[f"{family.name}_info"] = ("gauge", frozenset(family.samples[0].labels))
        elif isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            suffix = "_total" if family.type == "counter" else ""
            found[family.name + suffix] = (family.type, frozenset(metric._labelnames))
    for family in PendingBatches(lambda: Pending(0, None)).describe():
        found[family.name] = (family.type, frozenset(family._labelnames))
    return found


def test_the_catalogue_lists_exactly_the_metrics_that_exist_with_their_types_and_labels() -> None:
    assert documented() == registered()


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


def exposed(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def test_the_backlog_is_asked_for_at_most_once_in_its_time() -> None:
    now, asked = [0.0], []

    def ask() -> Pending:
        asked.append(now[0])
        return Pending(len(asked), 1_700_000_000.5)

    registry = CollectorRegistry()
    registry.register(PendingBatches(ask, cache_s=10, monotonic=lambda: now[0]))
    assert "headrace_batches_pending 1.0" in exposed(registry)
    now[0] = 9.9
    assert "headrace_batches_pending 1.0" in exposed(registry)
    now[0] = 10.0
    text = exposed(registry)
    assert "headrace_batches_pending 2.0" in text
    assert "headrace_batches_oldest_timestamp_seconds 1.7000000005e+09" in text
    assert asked == [0.0, 10.0]


def test_the_backlog_is_asked_for_only_when_scraped_and_only_while_it_is_measured() -> None:
    registry, asked = CollectorRegistry(), []

    def ask() -> Pending:
        asked.append(1)
        return Pending(4, None)

    with metrics.measuring(ask, registry=registry):
        assert asked == []
        assert "headrace_batches_pending 4.0" in exposed(registry)
    assert exposed(registry) == ""


def test_no_oldest_batch_is_no_sample() -> None:
    registry = CollectorRegistry()
    registry.register(PendingBatches(lambda: Pending(0, None)))
    text = exposed(registry)
    assert "headrace_batches_pending 0.0" in text
    assert "\nheadrace_batches_oldest_timestamp_seconds " not in text


def test_open_rejected_rows_are_told_by_source() -> None:
    registry = CollectorRegistry()
    registry.register(PendingBatches(lambda: Pending(0, None, {"users": 2, "purchases": 0})))
    text = exposed(registry)
    assert 'headrace_rejected_rows_open{source="users"} 2.0' in text
    assert 'headrace_rejected_rows_open{source="purchases"} 0.0' in text


def test_a_backlog_that_cannot_be_measured_is_absent_and_not_stale() -> None:
    answers: list[Pending | None] = [Pending(3, None), None]
    now = [0.0]

    def ask() -> Pending:
        answer = answers.pop(0)
        if answer is None:
            raise ConnectionError("control is away")
        return answer

    registry = CollectorRegistry()
    registry.register(PendingBatches(ask, cache_s=1, monotonic=lambda: now[0]))
    assert "headrace_batches_pending 3.0" in exposed(registry)
    now[0] = 2.0
    assert "headrace_batches_pending" not in exposed(registry)
