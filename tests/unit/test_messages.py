from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from headrace.domain.messages import MergeModel, Message, PollFeed, ReconcileFeed
from headrace.queue.topology import ROUTES

GOLDEN = Path(__file__).parent / "golden"
FEED = "0b9f6f5e-8f0e-4f0a-9d0e-6f7f3c1f2a11"
EXAMPLES: dict[str, Message] = {
    "poll_feed": PollFeed(feed_id=FEED),
    "reconcile_feed": ReconcileFeed(feed_id=FEED, full=True),
    "merge_model": MergeModel(data_source_id="main", model="users"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_message_is_written_as_its_golden_file(name: str) -> None:
    assert EXAMPLES[name].model_dump_json() == (GOLDEN / f"{name}.v1.json").read_text().strip()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_golden_file_is_read_as_its_message(name: str) -> None:
    kind = type(EXAMPLES[name])
    assert kind.model_validate_json((GOLDEN / f"{name}.v1.json").read_text()) == EXAMPLES[name]


@pytest.mark.parametrize("message", EXAMPLES.values(), ids=EXAMPLES)
def test_every_message_has_a_route_and_an_actor_of_its_own(message: Message) -> None:
    route = ROUTES[type(message)]
    assert [r.actor for r in ROUTES.values()].count(route.actor) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"feed_id": ""},
        {"feed_id": 7},
        {"feed_id": None},
        {"feed_id": FEED, "version": 2},
        {"feed_id": FEED, "version": "1"},
        {"feed_id": FEED, "password": "x"},
    ],
    ids=str,
)
def test_what_is_not_exactly_a_message_of_a_known_version_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PollFeed.model_validate(fields)


def test_a_message_is_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PollFeed(feed_id=FEED).feed_id = "other"  # type: ignore[misc]
