"""What a scheduler's gauges say of feeds, the backlog and the broker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace import gauges, metrics
from headrace.domain.messages import MergeModel, PollFeed
from headrace.errors import BrokerUnavailableError
from headrace.queue.nudges import to_dramatiq
from headrace.queue.topology import FETCH, MERGE
from producers.levels import of_broker, of_control
from tests.integration.world import Seen, prepared, world_of


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    with world_of(prepared(tmp_path / "template"), tmp_path / "world", monkeypatch) as world:
        for table in ("users", "purchases", "accounts"):
            world.write(f"DELETE FROM {table}", ())
        yield world


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.%f")


def test_gauges_tell_of_each_feed_by_source_and_app_and_of_the_backlog(world: Seen) -> None:
    at = ago(60)
    world.user(1, "Ada", at)
    world.poll("users")
    world.app.commands.pause("accounts", reason="for a while")
    values = of_control(world.app)
    assert values[gauges.FEED_PAUSED] == {("users@app",): 0, ("purchases@app",): 0, ("accounts@app",): 1}
    assert values[gauges.FEED_CLASS] == {("users@app", "exact"): 1}
    watermark = datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()
    assert values[gauges.WATERMARK] == {("users@app",): watermark}
    assert list(values[gauges.LAST_SUCCESS]) == [("users@app",)]
    assert abs(values[gauges.LAST_SUCCESS]["users@app",] - datetime.now(UTC).timestamp()) < 60
    assert values[gauges.BATCHES_PENDING] == {(): 1}
    assert values[gauges.BATCHES_OLDEST].keys() == {()}
    assert values[gauges.REJECTED_ROWS_OPEN] == {("users",): 0, ("purchases",): 0, ("accounts",): 0}
    world.merge()
    values = of_control(world.app)
    assert (values[gauges.BATCHES_PENDING], values[gauges.BATCHES_OLDEST]) == ({(): 0}, {})


def test_where_nothing_is_applied_there_is_nothing_to_tell(world: Seen) -> None:
    world.control.execute("UPDATE feed SET state = 'ended'")
    values = of_control(world.app)
    assert values[gauges.BATCHES_PENDING] == {(): 0}
    assert not any(values[gauge] for gauge in (gauges.FEED_PAUSED, gauges.WATERMARK, gauges.LAST_SUCCESS))


# --- freshness ------------------------------------------------------------------------------------


def observed(source: str = "users") -> tuple[float, float]:
    """How many batches were measured, and their seconds in all."""
    count, total = (
        metrics.REGISTRY.get_sample_value(f"headrace_freshness_seconds_{part}", {"source": source}) or 0.0
        for part in ("count", "sum")
    )
    return count, total


def test_freshness_is_from_the_oldest_change_of_a_batch_until_it_is_merged(world: Seen) -> None:
    world.poll("users")  # the first load, of nothing
    world.user(1, "Ada", ago(30))
    world.user(2, "Bob", ago(20))
    world.poll("users")
    count, total = observed()
    world.merge()
    assert observed()[0] == count + 1
    assert 30 <= observed()[1] - total < 40


def test_a_first_load_is_no_change(world: Seen) -> None:
    world.user(1, "Ada", ago(10_000))
    before = observed()
    world.poll("users")
    world.merge()
    assert observed() == before


def test_rows_that_are_read_again_as_they_are_tell_of_no_change(world: Seen) -> None:
    world.user(1, "Ada", ago(50))
    world.poll("users")
    world.merge()
    world.control.execute("UPDATE feed SET lead_cursor = NULL, lead_key = NULL, saved_cursor = NULL")
    world.control.execute("UPDATE feed SET saved_key = NULL, digests = '{}'")
    before = observed()
    world.poll("users")
    assert world.pending() == 1
    world.merge()
    assert observed() == before


def test_records_that_are_as_they_should_be_are_counted(world: Seen) -> None:
    def unchanged() -> float:
        labels = {"model": "users", "result": "unchanged"}
        return metrics.REGISTRY.get_sample_value("headrace_rows_merged_total", labels) or 0.0

    world.user(1, "Ada", ago(50))
    world.poll("users")
    world.merge()
    before = unchanged()
    world.user(1, "Ada", ago(1))
    world.poll("users")
    world.merge()
    assert unchanged() == before + 1


# --- the broker -----------------------------------------------------------------------------------


def test_messages_are_told_by_queue_and_state(any_broker: Any) -> None:
    broker = any_broker.open()
    for queue in (FETCH, MERGE):
        broker.declare_queue(
            broker.queue_name(queue), **({"ensure": True} if "amqp" in any_broker.url else {})
        )
    try:
        told = of_broker(broker)[gauges.QUEUE_MESSAGES]
        assert set(told.values()) == {0}
        broker.enqueue(to_dramatiq(PollFeed(feed_id="f1"), broker))
        broker.enqueue(to_dramatiq(PollFeed(feed_id="f2"), broker))
        broker.enqueue(to_dramatiq(MergeModel(data_source_id="main", model="users"), broker))
        told = of_broker(broker)[gauges.QUEUE_MESSAGES]
        assert (told[FETCH, "ready"], told[MERGE, "ready"]) == (2, 1)
        if "redis" in any_broker.url:
            broker._dispatch("fetch")(broker.queue_name(FETCH), 1)
            told = of_broker(broker)[gauges.QUEUE_MESSAGES]
            assert (told[FETCH, "ready"], told[FETCH, "unacked"]) == (1, 1)
    finally:
        broker.close()


def test_a_broker_that_is_away_is_said_to_be(server_broker: Any, proxy_to: Any) -> None:
    proxy = proxy_to(server_broker)
    proxy.go_away()
    broker = server_broker.through(proxy.port).open()
    with pytest.raises(BrokerUnavailableError, match="cannot be reached"):
        of_broker(broker)
    broker.close()
