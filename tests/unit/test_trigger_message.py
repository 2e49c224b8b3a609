from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from headrace.domain.refusal import Refusal
from headrace.domain.trigger import MOST_BYTES, MOST_KEYS, TriggerMessage, TriggerRequest, parsed
from headrace.errors import RefusedError

GOLDEN = Path(__file__).parent / "golden" / "trigger.v1.json"
WHOLE = TriggerMessage(source="orders", app="shop_db", customer="acme", keys=(("eu", "17"), ("us", "18")))


def refusal(body: bytes | str) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        parsed(body, TriggerMessage)
    return caught.value


def test_the_message_is_written_and_read_as_its_golden_file() -> None:
    assert WHOLE.model_dump_json() == GOLDEN.read_text().strip()
    assert parsed(GOLDEN.read_bytes(), TriggerMessage) == WHOLE


def test_a_source_is_all_that_is_needed() -> None:
    message = parsed(b'{"source": "users"}', TriggerMessage)
    assert (message.version, message.app, message.customer, message.keys) == (1, None, None, None)


def test_whole_numbers_are_keys_as_their_text() -> None:
    assert parsed(b'{"source": "a", "keys": [[17], ["18"], [-1]]}', TriggerMessage).keys == (
        ("17",),
        ("18",),
        ("-1",),
    )


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "JSON"),
        ("users", "JSON"),
        ("[]", ""),
        ("{}", "source"),
        ('{"source": "users", "version": 2}', "version"),
        ('{"source": "users", "version": "1"}', "version"),
        ('{"source": "users", "password": "x"}', "password"),
        ('{"source": "Users"}', "source"),
        ('{"source": 7}', "source"),
        ('{"source": "users", "keys": []}', "keys"),
        ('{"source": "users", "keys": ["17"]}', "keys.0"),
        ('{"source": "users", "keys": [[1.5]]}', "keys.0.0"),
        ('{"source": "users", "keys": [[true]]}', "keys.0.0"),
        ('{"source": "users", "keys": [[null]]}', "keys.0.0"),
        ('{"source": "users", "keys": [["\\u0000"]]}', "keys.0.0"),
        ('{"source": "users", "customer": ""}', "customer"),
        (json.dumps({"source": "users", "keys": [["1"]] * (MOST_KEYS + 1)}), "keys"),
        (json.dumps({"source": "users", "keys": [["1" * 1001]]}), "keys.0.0"),
        ('{"source": "users", "keys": [[' + "9" * 5000 + "]]}", "JSON"),
        ("[" * 100_000, "JSON"),
    ],
)  # fmt: skip
def test_what_is_not_exactly_a_message_of_a_known_version_is_refused_with_where_it_is_wrong(
    body: str, told: str
) -> None:
    error = refusal(body)
    assert error.code == Refusal.INVALID
    assert told in error.detail
    assert len(error.detail) < 1000


def test_what_is_no_text_is_refused() -> None:
    assert refusal(b"\xff\xfe{}").code == Refusal.INVALID


def test_what_is_too_big_is_refused_unread() -> None:
    assert refusal(b"[" * (MOST_BYTES + 1)).code == Refusal.TOO_LARGE


def test_a_refusal_has_no_value_of_the_message() -> None:
    body = json.dumps({"source": "users", "customer": {"secret-value": 1}, "keys": [["k" * 1001]]})
    assert "secret-value" not in refusal(body).detail
    assert "kkk" not in refusal(body).detail


def test_where_the_source_is_known_it_need_not_be_named() -> None:
    assert parsed(b"{}", TriggerRequest).source is None


def test_a_message_is_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        WHOLE.source = "other"  # type: ignore[misc]
