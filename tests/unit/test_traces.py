"""Traces: nothing where nobody asks for them, and what of a span goes on, is linked and is told."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace import traces
from headrace.errors import ConfigurationError

VARIABLES = (
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
)
ELSEWHERE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def _asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What was recorded, from when the test ends `recording` on."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(traces, "_otlp", lambda: exporter)
    monkeypatch.setattr(exporter, "shutdown", lambda: None)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    yield exporter
    assert not traces.is_on()


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


# --- off --------------------------------------------------------------------------------------------


def test_where_nobody_asks_for_traces_nothing_is_recorded_or_carried() -> None:
    with traces.recording("fetch"):
        assert not traces.is_on()
        assert traces.span("poll", source="users") is traces.span("merge")
        assert traces.continued(ELSEWHERE) is traces.span("poll")
        with traces.span("poll"):
            assert traces.carried() is None
            traces.note(rows=1)
            traces.failed(ValueError("nothing happens"))


def test_where_nobody_asks_for_traces_opentelemetry_is_not_imported() -> None:
    program = (
        "import sys; from headrace import process, traces\n"  # the rest imports redis, which does import it
        "with traces.recording('fetch'), traces.span('poll'): pass\n"
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_SERVICE_NAME": "mine"},
    ],
)
def test_the_environment_can_say_no(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with traces.recording("fetch"):
        assert not traces.is_on()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER: must be otlp, console or none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf is spoken"),
    ],
)
def test_what_cannot_be_is_a_fault_of_the_variable(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=told), traces.recording("fetch"):
        pass


def test_traces_without_the_extra_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with (
        pytest.raises(ConfigurationError, match=r"pip install 'headrace\[otel\]'"),
        traces.recording("fetch"),
    ):
        pass


# --- on ---------------------------------------------------------------------------------------------


def test_a_span_within_another_is_its_child_and_says_whose_process_it_is_of(
    kept: InMemorySpanExporter,
) -> None:
    with traces.recording("fetch"), traces.span("poll", source="users"), traces.span("journal", batches=2):
        traces.note(rows=7)
    poll, journal = by_name(kept)["poll"], by_name(kept)["journal"]
    assert journal.parent is not None
    assert poll.context is not None
    assert (journal.parent.span_id, poll.parent) == (poll.context.span_id, None)
    assert dict(poll.attributes or {}) == {"headrace.source": "users"}
    assert dict(journal.attributes or {}) == {"headrace.batches": 2, "headrace.rows": 7}
    assert poll.resource.attributes["service.name"] == "headrace-fetch"


def test_the_service_s_name_can_be_given(kept: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=ours,team=data")
    with traces.recording("fetch"), traces.span("poll"):
        pass
    attributes = by_name(kept)["poll"].resource.attributes
    assert (attributes["service.name"], attributes["team"]) == ("ours", "data")


def test_what_is_carried_is_gone_on_from_in_another_process(kept: InMemorySpanExporter) -> None:
    with traces.recording("fetch"):
        with traces.span("poll"):
            carried = traces.carried()
        with traces.continued(carried), traces.span("merge"):
            pass
        with traces.span("event", parent=carried):
            pass
        with traces.continued("no such thing"), traces.span("alone"):
            pass
        assert traces.carried() is None
    spans = by_name(kept)
    poll = spans["poll"].context
    assert poll is not None
    for name in ("merge", "event"):
        parent = spans[name].parent
        assert parent is not None
        assert (parent.trace_id, parent.span_id) == (poll.trace_id, poll.span_id)
    assert spans["alone"].parent is None


def test_links_are_one_of_each_other_trace(kept: InMemorySpanExporter) -> None:
    other = ELSEWHERE.replace("0af7", "1bf8")
    with traces.recording("merge"):
        links = [ELSEWHERE, other, other, None, "no such thing", other.replace("b7ad", "c8be")]
        with traces.span("merge", parent=ELSEWHERE, links=links):
            pass
    (link,) = by_name(kept)["merge"].links
    assert f"{link.context.trace_id:032x}" == other.split("-")[1]


def test_a_span_that_fails_tells_the_kind_of_error_and_not_its_text(kept: InMemorySpanExporter) -> None:
    with traces.recording("fetch"):
        with pytest.raises(ValueError, match="ada@"), traces.span("poll"):
            raise ValueError("ada@example.com is no number")
        with traces.span("merge"):
            traces.failed(KeyError("ada@example.com"))
    for name, kind in (("poll", "ValueError"), ("merge", "KeyError")):
        span = by_name(kept)[name]
        assert (span.status.is_ok, span.status.description) == (False, kind)
        assert "ada" not in span.to_json()


def test_a_collector_that_is_away_delays_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(traces, "_END_WITHIN_S", 0.1)
    with traces.recording("fetch"):
        with traces.span("poll"):
            pass
        began = time.monotonic()
    assert time.monotonic() - began < 2
