"""SQLite's clock takes the form of the column's own values."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headrace.sources.sqlite_clock import recognise, render_clock
from headrace.sources.sqlite_value import Value, rank_value, text_column, typed_value

NOW = datetime(2026, 7, 1, 10, 20, 30, 123999, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "clock"),
    [
        ((b"2020-01-01", b"2024-02-29"), "2026-07-01"),
        ((b"2020-01-01 10:00", b"2020-01-01 10:01"), "2026-07-01 10:20"),
        ((b"2020-01-01 10:00:00", b"2024-01-01 10:00:00"), "2026-07-01 10:20:30"),
        ((b"2020-01-01 10:00:00", b"2024-01-01 10:00:00.5"), "2026-07-01 10:20:30.1"),
        ((b"2020-01-01 10:00:00.123", b"2024-01-01 10:00:00.123"), "2026-07-01 10:20:30.123"),
        ((b"2020-01-01T10:00:00.123456", b"2024-01-01T10:00:00"), "2026-07-01T10:20:30.123999"),
        ((b"2020-01-01T10:00:00Z", b"2024-01-01T10:00:00Z"), "2026-07-01T10:20:30Z"),
        ((b"2020-01-01 10:00:00+00:00", b"2024-01-01 10:00:00+00:00"), "2026-07-01 10:20:30+00:00"),
        ((1577836800, 1700000000), "1782901230"),
        ((1577836800000, 1700000000000), "1782901230123"),
        ((1577836800000000, 1700000000000000), "1782901230123999"),
        ((1577836800.5, 1700000000.25), "1782901230.123999"),
    ],
)
def test_the_clock_has_the_form_of_the_values(values: tuple[Value, ...], clock: str) -> None:
    found = recognise(values)
    assert found is not None
    assert render_clock(found, NOW, "UTC") == (clock, None)


@pytest.mark.parametrize(
    "values",
    [
        (b"yesterday", b"2024-01-01"),
        (b"2020-01-01 10:00:00", b"2024-01-01T10:00:00"),
        (b"2020-01-01 10:00:00+02:00", b"2024-01-01 10:00:00+02:00"),
        (b"01/02/2024", b"01/02/2024"),
        (1577836800, 1577836800000),
        (1577836800, b"2024-01-01"),
        (1, 12),
        (b"\xff", b"\xff"),
    ],
)
def test_values_of_no_or_of_several_forms_have_no_clock(values: tuple[Value, ...]) -> None:
    assert recognise(values) is None


def test_naive_times_are_those_of_their_zone_and_times_with_an_offset_are_not() -> None:
    naive = recognise((b"2020-01-01 10:00:00",))
    offset = recognise((b"2020-01-01 10:00:00Z",))
    assert naive is not None
    assert offset is not None
    assert render_clock(naive, NOW, "Europe/Berlin")[0] == "2026-07-01 12:20:30"
    assert render_clock(offset, NOW, "Europe/Berlin")[0] == "2026-07-01 10:20:30Z"


def test_local_time_stays_open_while_an_hour_runs_twice() -> None:
    found = recognise((b"2020-01-01 10:00:00",))
    assert found is not None
    before = datetime(2026, 10, 25, 0, 59, tzinfo=UTC)
    after = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)
    assert render_clock(found, before, "Europe/Berlin") == ("2026-10-25 02:59:00", "2026-10-25 01:58:59")
    assert render_clock(found, after, "Europe/Berlin") == ("2026-10-25 03:10:00", "2026-10-25 02:09:59")


def test_values_come_back_from_their_texts_as_what_they_were() -> None:
    values = [0, -5, 2**63 - 1, -(2**63), 1.54, 3.25, 1e300, -1e-7, 0.1 + 0.2, 123456789012345.6]
    texts = text_column(values).to_pylist()
    assert [typed_value(text, numeric=True) for text in texts] == values
    assert typed_value("1", numeric=False) == "1"
    assert typed_value("one", numeric=True) == "one"


def test_ranks_follow_sqlites_order_of_kinds() -> None:
    ordered: list[Value] = [-1.5, 0, 2, 2.5, 10, "", "10", "9", "é", b"", b"\xff"]
    ranks = [rank_value(value) for value in ordered]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)
