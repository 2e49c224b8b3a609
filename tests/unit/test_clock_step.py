"""When a source's clock counts as set back, by our steady clock or by what it showed before."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from headrace.domain.clock_step import ClockSight, set_back_by

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def sight(shown_s: float, asked_s: float, took_s: float = 0.0, *, boot: str = "this") -> ClockSight:
    """The source showed `shown_s` after noon when we asked; our wall clock agrees with our steady one."""
    return ClockSight(
        at=NOON + timedelta(seconds=shown_s),
        asked_s=asked_s,
        answered_s=asked_s + took_s,
        boot=boot,
        wall=NOON + timedelta(seconds=asked_s + took_s),
    )


BEFORE = sight(0, 0)


@pytest.mark.parametrize(
    ("after", "by_s"),
    [
        (sight(10, 10), 0),
        (sight(9.8, 10), 0),
        (sight(9.7, 10), 0.3),
        (sight(-50, 10), 60),
        (sight(240, 300), 60),
        (sight(70, 10), 0),
    ],
)
def test_a_clock_that_falls_short_of_ours_was_set_back(after: ClockSight, by_s: float) -> None:
    assert set_back_by(BEFORE, after) == timedelta(seconds=by_s)


def test_a_slow_answer_is_not_taken_for_a_step_and_is_added_to_one() -> None:
    assert set_back_by(BEFORE, sight(10, 10, took_s=3)) == timedelta()
    assert set_back_by(sight(0, 0, took_s=2), sight(12, 10)) == timedelta()
    assert set_back_by(BEFORE, sight(-50, 10, took_s=3)) == timedelta(seconds=63)


@pytest.mark.parametrize(
    ("after", "by_s"),
    [
        (sight(-50, 10), 61),
        (sight(240, 300), 61),
        (sight(9, 10), 0),
        (sight(70, 10), 0),
        (sight(10, 10, took_s=3), 0),
    ],
)
def test_on_another_machine_our_time_of_day_tells_a_second_more_or_less(
    after: ClockSight, by_s: float
) -> None:
    assert set_back_by(BEFORE, replace(after, boot="other")) == timedelta(seconds=by_s)


def test_a_clock_that_shows_less_was_set_back_though_ours_was_set_with_it() -> None:
    set_too = replace(sight(-50, 10, boot="other"), wall=NOON - timedelta(seconds=50))
    assert set_back_by(BEFORE, set_too) == timedelta(seconds=51)


def test_nothing_is_known_at_the_first_poll() -> None:
    assert set_back_by(None, BEFORE) == timedelta()


def test_a_sight_is_remembered_as_it_was() -> None:
    assert ClockSight.from_json(json.loads(json.dumps(BEFORE.as_json()))) == BEFORE
