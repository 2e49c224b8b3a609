"""Record events as the outside gets them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from headrace.domain.cloud_event import CloudEvent, Origin, cloud_event
from headrace.domain.record_event import ChangeKind, RecordEvent
from headrace.domain.topic_pattern import matches
from headrace.domain.vocabulary import DataSourceId, ModelId
from tests.acceptance import guide

GOLDEN = Path(__file__).parent / "golden"
GUIDE = Path(__file__).parents[2] / "docs" / "events.md"
ORIGIN = Origin(workspace="w1", data_source=DataSourceId("main"), schema="shop")
EVENT = RecordEvent(
    seq=42,
    merge="0b6f1e7f0d3a4e6b9c58f0a1f2d3c4b5",
    model=ModelId("users"),
    customer="acme/eu",
    key='{"user_id":7}',
    kind=ChangeKind.UPDATED,
    changed=("email", "total_spent"),
    record='{"user_id":7,"email":"é@x.io","total_spent":"1.50","big":9007199254740993}',
    at="2026-01-02T03:04:05.678901Z",
)

# What CloudEvents 1.0.2 and its JSON format ask of an event in structured mode, with data that is JSON.
TEXT = {"type": "string", "minLength": 1}
RULES: dict[str, Any] = {
    "type": "object",
    "required": ["id", "source", "specversion", "type"],
    "properties": {
        "id": TEXT,
        "source": {**TEXT, "format": "uri-reference"},
        "specversion": {"const": "1.0"},
        "type": TEXT,
        "datacontenttype": {"const": "application/json"},
        "subject": TEXT,
        "time": {**TEXT, "format": "date-time"},
        "sequence": TEXT,
        "data": {"type": "object"},
    },
    "additionalProperties": False,
    "propertyNames": {"pattern": "^[a-z0-9]{1,20}$"},
}


def made(**changes: Any) -> CloudEvent:
    return cloud_event(replace(EVENT, **changes), ORIGIN)


@pytest.mark.parametrize("kind", [ChangeKind.CREATED, ChangeKind.UPDATED, ChangeKind.DELETED], ids=str)
def test_an_event_is_the_one_that_consumers_were_promised(kind: ChangeKind) -> None:
    changes: dict[str, Any] = {"kind": kind}
    if kind is not ChangeKind.UPDATED:
        changes["changed"] = ()
    if kind is ChangeKind.DELETED:
        changes["record"] = None
    event = made(**changes)
    golden = (GOLDEN / f"record_{kind}.v1.json").read_text(encoding="utf-8")
    assert json.loads(event.body) == json.loads(golden)
    jsonschema.validate(json.loads(event.body), RULES, format_checker=jsonschema.FormatChecker())


def test_the_guide_of_events_shows_such_an_event() -> None:
    (block,) = (b for b in guide.blocks_of(GUIDE) if b.mark == "checked by: tests/unit/test_cloud_event.py")
    shown, event = json.loads(block.text), json.loads(made().body)
    jsonschema.validate(shown, RULES, format_checker=jsonschema.FormatChecker())
    assert list(shown) == list(event)
    assert shown["data"].keys() == event["data"].keys()
    assert set(shown["data"]["changed"]) <= shown["data"]["record"].keys()


def test_one_event_has_one_id_and_another_another() -> None:
    assert made().id == made(seq=43).id
    others = [made(merge="m"), made(model=ModelId("m")), made(customer="c"), made(key='{"user_id":8}')]
    assert len({made().id, *(event.id for event in others)}) == 5


def test_a_record_s_numbers_are_told_digit_by_digit() -> None:
    assert b'"big":9007199254740993' in made().body


def test_a_subject_keeps_the_parts_of_a_key_apart() -> None:
    event = json.loads(made(key='{"a":"x/y","b":1.5,"c":true}').body)
    assert event["subject"] == "users/acme%2Feu/x%2Fy/1.5/true"


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("#", True),
        ("shop.users.updated", True),
        ("shop.*.updated", True),
        ("shop.#", True),
        ("#.updated", True),
        ("shop.users.updated.#", True),
        ("*", False),
        ("shop.*", False),
        ("shop.user.updated", False),
        ("*.*.*.*", False),
    ],
)
def test_patterns_match_as_those_of_topic_exchanges(pattern: str, fits: bool) -> None:
    assert matches([pattern], "shop.users.updated") is fits
