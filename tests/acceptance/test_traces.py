"""One trace goes from what asked for a poll through every process to the data source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.acceptance import procfile
from tests.acceptance.conftest import NewDatabase
from tests.acceptance.otlp_collector import Collector, Span, collecting
from tests.acceptance.project import Process, Project
from tests.acceptance.small_shop import CUSTOMER, EMAIL, add_user, over_servers, until, until_merged

pytestmark = pytest.mark.services

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def shop(
    collector: Collector, new_database: NewDatabase, redis_server: str, tmp_path: Path
) -> Iterator[Project]:
    """Read once at the beginning, and then when it is asked for."""
    with over_servers(tmp_path / "shop", new_database, redis_server, every="1h") as project:
        project.environment |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        yield project


def test_a_trace_goes_from_schedule_and_trigger_through_every_process_to_the_store(
    shop: Project, collector: Collector
) -> None:
    token = shop.headrace("tokens", "create", "backend", "--group", "all", "--write").strip()
    add_user(shop, 1)
    with procfile.running(shop) as fleet:
        until_merged(shop, 1)
        until(lambda: any(span.name == "merge" for span in collector.spans), "no merge is told")
        first = next(span for span in collector.spans if span.name == "merge")
        until(lambda: "tick" in collector.of(first.trace), "no tick is told")
        _joined(collector.of(first.trace), "tick", "poll", "journal", "merge")

        add_user(shop, 2)
        answer = httpx.post(
            f"{_api(fleet.processes['web'])}/api/v1/sources/users/trigger",
            headers={"Authorization": f"Bearer {token}", "traceparent": f"00-{TRACE}-{CALLER}-01"},
        )
        assert answer.status_code == 202, answer.text
        until_merged(shop, 2)
        until(lambda: {"poll", "merge", "trigger"} <= set(collector.of(TRACE)), "the trigger is not told")
        codes = {name: process.stop(limit_s=25) for name, process in fleet.processes.items()}
    assert codes == dict.fromkeys(codes, 0)

    spans = collector.of(TRACE)
    _joined(spans, "trigger", "poll", "journal", "merge")
    assert spans["trigger"].parent == CALLER
    assert {name: span.service for name, span in spans.items()} == {
        "trigger": "headrace-web",
        "poll": "headrace-fetch",
        "journal": "headrace-fetch",
        "merge": spans["merge"].service,
    }
    assert spans["merge"].service in {"headrace-merge", "headrace-fetch"}  # who is there first
    poll = spans["poll"].attributes
    assert (poll["headrace.source"], poll["headrace.app"], poll["headrace.rows"]) == ("users", "shop", 1)
    assert spans["merge"].attributes["headrace.data_source"] == "main"
    told = {str(value) for span in collector.spans for value in span.attributes.values()}
    assert not told & {CUSTOMER, EMAIL}


def _joined(spans: dict[str, Span], *names: str) -> None:
    """Each is the parent of the next."""
    for above, below in pairwise(names):
        assert spans[below].parent == spans[above].id, (above, below, spans)


def _api(process: Process) -> str:
    def lines() -> list[dict[str, object]]:
        return [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]

    until(lambda: any(line["event"] == "the API is served" for line in lines()), "the API is not served")
    port = next(line["port"] for line in lines() if line["event"] == "the API is served")
    return f"http://127.0.0.1:{port}"
