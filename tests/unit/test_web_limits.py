from __future__ import annotations

import pytest

from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError
from headrace.web.limits import RateLimit


def refusals(limit: RateLimit, key: str, times: int) -> list[RefusedError]:
    found = []
    for _ in range(times):
        try:
            limit.take(key)
        except RefusedError as error:
            found.append(error)
    return found


def test_a_burst_passes_and_then_as_many_as_the_rate_allows() -> None:
    now = [0.0]
    limit = RateLimit(rate=2, burst=5, monotonic=lambda: now[0])
    assert len(refusals(limit, "a", 8)) == 3
    now[0] = 1.0
    assert len(refusals(limit, "a", 3)) == 1
    now[0] = 100.0
    assert len(refusals(limit, "a", 6)) == 1


def test_a_refusal_says_when_to_ask_again_and_costs_nothing() -> None:
    now = [0.0]
    limit = RateLimit(rate=1, burst=1, monotonic=lambda: now[0])
    (refused,) = refusals(limit, "a", 2)
    assert (refused.code, refused.members) == (Refusal.TOO_MANY, {"retry_after_s": 1})
    now[0] = 1.0
    assert refusals(limit, "a", 1) == []


def test_each_key_has_a_bucket_of_its_own() -> None:
    limit = RateLimit(rate=1, burst=1, monotonic=lambda: 0.0)
    assert refusals(limit, "a", 1) == refusals(limit, "b", 1) == []


def test_a_rate_of_zero_is_no_limit() -> None:
    assert refusals(RateLimit(rate=0, burst=1), "a", 1000) == []


@pytest.mark.parametrize("burst", [1, 3])
def test_full_buckets_are_forgotten_and_empty_ones_are_not(
    burst: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.web.limits._MOST_BUCKETS", 10)
    now = [0.0]
    limit = RateLimit(rate=1, burst=burst, monotonic=lambda: now[0])
    for number in range(10):
        limit.take(str(number))
    now[0] = 1000.0
    limit.take("empty")
    assert len(limit._buckets) == 1
    assert len(refusals(limit, "empty", burst)) == 1
