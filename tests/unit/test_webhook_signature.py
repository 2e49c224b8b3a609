"""Who signed, and when: of requests that come, and by the vector of the specification's own libraries."""

from __future__ import annotations

import pytest

from headrace.domain.refusal import Refusal
from headrace.domain.webhook_signature import ID, SIGNATURE, TIMESTAMP, Signature, key_of, signed_headers
from headrace.errors import RefusedError

NOW_S = 1_614_265_330
BODY = b'{"test": 2432232314}'
FOUND = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
assert FOUND is not None
KEY: bytes = FOUND
HEADERS = {
    ID: "msg_p5jXN8AQM9LWM0D4loKWxJek",
    TIMESTAMP: str(NOW_S),
    SIGNATURE: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
OTHER = b"o" * 32


def test_what_is_signed_here_is_signed_as_everywhere() -> None:
    assert signed_headers(KEY, id_=HEADERS[ID], at_s=NOW_S, body=BODY) == HEADERS


@pytest.mark.parametrize("keys", [[KEY], [OTHER, KEY], [KEY, OTHER]], ids=["one", "new first", "old second"])
def test_any_of_the_secrets_holds(keys: list[bytes]) -> None:
    Signature.of(HEADERS, now_s=NOW_S).check(keys, BODY)


def test_one_of_several_signatures_is_enough() -> None:
    rotated = HEADERS | {SIGNATURE: f"v1a,xyz v1,AAAA {HEADERS[SIGNATURE]}"}
    Signature.of(rotated, now_s=NOW_S).check([KEY], BODY)


@pytest.mark.parametrize("late_s", [-300, 300])
def test_a_signature_holds_for_five_minutes_around_its_time(late_s: int) -> None:
    Signature.of(HEADERS, now_s=NOW_S + late_s).check([KEY], BODY)


@pytest.mark.parametrize(
    ("changed", "now_s"),
    [
        ({}, NOW_S + 301),
        ({}, NOW_S - 301),
        ({TIMESTAMP: f"+{NOW_S}"}, NOW_S),
        ({TIMESTAMP: f"{NOW_S}.0"}, NOW_S),
        ({TIMESTAMP: "\u0661"}, NOW_S),
        ({TIMESTAMP: None}, NOW_S),
        ({ID: None}, NOW_S),
        ({ID: "x" * 256}, NOW_S),
        ({SIGNATURE: None}, NOW_S),
        ({SIGNATURE: "v1a,g0hM9SsE"}, NOW_S),
    ],
)
def test_headers_that_cannot_hold_are_refused_before_the_body(
    changed: dict[str, str | None], now_s: float
) -> None:
    with pytest.raises(RefusedError) as refusal:
        Signature.of(HEADERS | changed, now_s=now_s)
    assert refusal.value.code == Refusal.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("changed", "keys", "body"),
    [
        ({}, [OTHER], BODY),
        ({}, [], BODY),
        ({}, [KEY], BODY + b" "),
        ({ID: "another"}, [KEY], BODY),
        ({TIMESTAMP: str(NOW_S + 1)}, [KEY], BODY),
        ({SIGNATURE: "v1,"}, [KEY], BODY),
        ({SIGNATURE: HEADERS[SIGNATURE].replace("v1,", "v1a,") + " v1,\xff"}, [KEY], BODY),
    ],
)
def test_a_signature_of_something_else_is_none(
    changed: dict[str, str | None], keys: list[bytes], body: bytes
) -> None:
    with pytest.raises(RefusedError) as refusal:
        Signature.of(HEADERS | changed, now_s=NOW_S).check(keys, body)
    assert refusal.value.code == Refusal.UNAUTHENTICATED
