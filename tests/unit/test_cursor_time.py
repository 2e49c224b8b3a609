"""When a row changed, by its cursor."""

from __future__ import annotations

from datetime import UTC, datetime

from headrace.domain.cursor_time import cursor_times, is_when_changed


def test_cursors_that_name_a_day_are_moments_and_no_others() -> None:
    found = cursor_times(
        [
            "2026-03-01 12:00:00.5",
            "2026-03-01T12:00:00+02:00",
            "2026-03-01",
            "17",
            "20260301",
            "infinity",
            "",
        ],
        "Europe/Berlin",
    )
    assert found == [
        datetime(2026, 3, 1, 11, 0, 0, 500_000, UTC),
        datetime(2026, 3, 1, 10, tzinfo=UTC),
        datetime(2026, 2, 28, 23, tzinfo=UTC),
        *[None] * 4,
    ]


def test_only_a_clock_that_is_set_at_each_change_says_when_a_row_changed() -> None:
    clocks = ["database", "skew:5s", "business", "undeclared"]
    assert [is_when_changed(clock) for clock in clocks] == [True, True, False, False]
