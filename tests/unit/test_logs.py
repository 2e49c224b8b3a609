from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace import logs, traces


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, secrets = root.handlers[:], root.level, set(logs._secrets)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logs._secrets.clear()
    logs._secrets.update(secrets)


@pytest.fixture
def lines() -> Callable[[], list[dict[str, Any]]]:
    stream = io.StringIO()
    logs.configure("json", level="debug", stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_carries_the_trace_of_the_span_that_it_is_told_in(
    lines: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "_otlp", InMemorySpanExporter)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    with traces.recording("test"), traces.span("poll"):
        carried = traces.carried()
        logs.get("headrace.test").info("read")
    logs.get("headrace.test").info("after")
    within, after = lines()
    assert carried is not None
    assert within["trace"] == carried.split("-")[1]
    assert "trace" not in after


def test_a_line_carries_the_ids_of_its_context(lines: Callable[[], list[dict[str, Any]]]) -> None:
    log = logs.get("headrace.test").bind(run="r1")
    with logs.context(feed="f1", source="users"):
        log.info("page read", rows=3)
    log.info("later")
    first, second = lines()
    assert first["event"] == "page read"
    assert (first["run"], first["feed"], first["source"], first["rows"]) == ("r1", "f1", "users", 3)
    assert first["level"] == "info"
    assert first["timestamp"].endswith("Z")
    assert "feed" not in second


def test_logs_of_libraries_have_the_same_form(lines: Callable[[], list[dict[str, Any]]]) -> None:
    logging.getLogger("some.library").warning("lost %s", "redis://u:pw12@host/0")
    (line,) = lines()
    assert (line["event"], line["logger"]) == ("lost redis://u:***@host/0", "some.library")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:s3cret@db:5432/x", "postgresql://me:***@db:5432/x"),
        ("redis://:s3cret@redis", "redis://:***@redis"),
        ("postgresql+psycopg://me:p@ss/w:rd@db/x", "postgresql+psycopg://me:***@db/x"),
        ("host=db password=s3cret user=me", "host=db password=*** user=me"),
        ("https://db/x?password=s3cret&sslmode=require", "https://db/x?password=***&sslmode=require"),
        ("postgresql://me@db/x", "postgresql://me@db/x"),
        ("http://host:8080/path", "http://host:8080/path"),
    ],
)
def test_passwords_of_urls_and_dsns_are_masked(text: str, shown: str) -> None:
    assert logs.scrubbed(text) == shown


def test_a_known_secret_is_masked_wherever_it_stands(lines: Callable[[], list[dict[str, Any]]]) -> None:
    logs.keep_secret("tok/en+1", "tok/en+1-longer")
    log = logs.get("headrace.test")
    try:
        raise RuntimeError("server said: bad token tok/en+1")
    except RuntimeError:
        log.exception(
            "tok/en+1-longer failed", nested={"list": ["a tok%2Fen%2B1 b"]}, path=KeyError("tok/en+1")
        )
    (line,) = lines()
    assert "tok" not in json.dumps(line).replace("bad token", "")
    assert line["event"] == "*** failed"
    assert "RuntimeError: server said: bad token ***" in line["exception"]


def test_a_console_line_is_scrubbed_too() -> None:
    stream = io.StringIO()
    logs.configure("console", stream=stream)
    try:
        raise ConnectionError("postgresql://me:s3cret@db/x")
    except ConnectionError:
        logs.get("headrace.test").exception("no way", url="postgresql://me:s3cret@db/x")
    assert "s3cret" not in stream.getvalue()
    assert "Traceback" in stream.getvalue()


def test_auto_is_json_where_nobody_looks() -> None:
    stream = io.StringIO()
    logs.configure("auto", stream=stream)
    logs.get("headrace.test").info("hello")
    assert json.loads(stream.getvalue())["event"] == "hello"


def test_levels_below_the_set_one_are_silent() -> None:
    stream = io.StringIO()
    logs.configure("json", level="warning", stream=stream)
    logs.get("headrace.test").info("hello")
    assert stream.getvalue() == ""


def test_unconfigured_logs_never_reach_stdout() -> None:
    line = "logs.get('headrace.test').warning('hello', url='redis://u:pw12@host', process='fetch')"
    script = [sys.executable, "-c", f"from headrace import logs; {line}"]
    ran = subprocess.run(script, capture_output=True, text=True, check=True)
    assert ran.stdout == ""
    assert "event='hello' url='redis://u:***@host' process='fetch'" in ran.stderr
