"""When feeds are due: the same answer from every scheduler, one tick for many missed."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.schedule import Duration, backoff_s, jitter, next_cron, next_due, next_tick
from headrace.domain.vocabulary import FeedId

DURATIONS = st.integers(1, 10**10).map(Duration)
FIRST, LAST = datetime(1971, 1, 1), datetime(2200, 1, 1)  # noqa: DTZ001 (bounds are naive)
TIMES = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
FEEDS = st.uuids().map(lambda u: FeedId(str(u)))


@given(DURATIONS)
def test_a_duration_reads_back_what_it_writes(duration: Duration) -> None:
    assert Duration.parse(str(duration)) == duration


@pytest.mark.parametrize(
    ("text", "seconds", "shortest"),
    [
        ("1500ms", 1.5, "1500ms"),
        ("60s", 60, "1m"),
        ("90m", 5400, "90m"),
        ("24h", 86400, "1d"),
        ("7d", 604800, "7d"),
    ],
)
def test_durations_are_written_in_their_greatest_unit(text: str, seconds: float, shortest: str) -> None:
    duration = Duration.parse(text)
    assert (duration.seconds, str(duration)) == (seconds, shortest)
    assert duration.span == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-1s", "1.5s", "1 s", "0s", "1w", "٣s", "999999999999d", "1S"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as"):
        Duration.parse(text)


@given(DURATIONS, FEEDS, TIMES)
def test_the_next_tick_is_later_and_at_most_one_interval_away(
    every: Duration, feed: FeedId, now: datetime
) -> None:
    tick = next_tick(every, feed, after=now)
    assert timedelta() < tick - now <= every.span
    assert next_tick(every, feed, after=tick) == tick + every.span


@given(DURATIONS, FEEDS, TIMES, st.integers(0, 1000))
def test_missed_ticks_become_one(every: Duration, feed: FeedId, now: datetime, missed: int) -> None:
    late = now + missed * every.span
    assert next_tick(every, feed, after=late) == next_tick(every, feed, after=now) + missed * every.span


@given(DURATIONS, FEEDS)
def test_jitter_is_within_the_interval_and_the_feeds_own(every: Duration, feed: FeedId) -> None:
    assert timedelta() <= jitter(every, feed) < every.span
    assert jitter(every, feed) == jitter(every, FeedId(str(feed)))


def test_feeds_of_one_interval_are_spread_over_all_of_it() -> None:
    minute = Duration.parse("1m")
    seconds = Counter(int(jitter(minute, FeedId(f"feed-{n}")).total_seconds()) for n in range(6_000))
    assert len(seconds) == 60
    assert max(seconds.values()) < 150  # of a hundred on average


def test_cron_is_in_utc_and_strictly_later() -> None:
    at_six = datetime(2024, 3, 31, 6, tzinfo=UTC)
    assert next_cron("0 6 * * *", after=at_six - timedelta(seconds=1)) == at_six
    assert next_cron("0 6 * * *", after=at_six) == at_six + timedelta(days=1)
    berlin = at_six.astimezone(tz=None)
    assert next_cron("0 6 * * *", after=berlin) == at_six + timedelta(days=1)


@pytest.mark.parametrize("expression", ["", "61 * * * *", "* * * *", "0 0 31 2 *"])
def test_cron_that_never_comes_due_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="is not a cron expression that comes due"):
        next_cron(expression, after=datetime(2024, 1, 1, tzinfo=UTC))


@given(st.integers(0, 10_000), st.integers())
def test_backoff_is_between_a_second_and_five_minutes(failures: int, seed: int) -> None:
    assert 1 <= backoff_s(failures, random.Random(seed)) <= min(300, max(2, 2.0 ** min(failures, 30)))


def test_backoff_uses_its_whole_range() -> None:
    chance = random.Random(1)
    waits = [backoff_s(20, chance) for _ in range(1000)]
    assert min(waits) < 10
    assert max(waits) > 290


def test_a_feed_without_interval_and_cron_is_never_due() -> None:
    after = datetime(2024, 1, 1, 0, 0, 30, tzinfo=UTC)
    feed = FeedId("feed")
    assert next_due(feed, every_s=None, cron=None, after=after) is None
    assert next_due(feed, every_s=None, cron="* * * * *", after=after) == after + timedelta(seconds=30)
    assert next_due(feed, every_s=0.5, cron=None, after=after) == next_tick(Duration(500), feed, after=after)
