"""What a person and a program are shown."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime, timedelta

import pytest
from rich.console import Console
from rich.measure import Measurement

from headrace.cli import screen
from headrace.cli.screen import Column

MOMENT = datetime(2026, 3, 1, 12, 0, 5, 120_000, tzinfo=UTC)


def test_plain_lines_align_columns_and_cut_nothing() -> None:
    long = "x" * 300
    lines = screen.plain_lines([Column("name"), Column("rows", right=True)], [["a", "1"], [long, "1,000"]])
    assert lines[0] == "name" + " " * 298 + " rows"
    assert lines[1].endswith("    1")
    assert lines[2] == f"{long}  1,000"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "true"),
        ("two\nlines", "two⏎lines"),
        (MOMENT, "2026-03-01 12:00:05.12"),
        (MOMENT.replace(microsecond=0), "2026-03-01 12:00:05"),
        (date(2026, 3, 1), "2026-03-01"),
        ({"b": ["ü"]}, '{"b": ["ü"]}'),
    ],
)
def test_a_value_is_one_line(value: object, text: str) -> None:
    assert screen.text_of(value) == text


def test_json_has_iso_times_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    screen.print_json({"at": MOMENT, "on": date(2026, 3, 1), "for": timedelta(seconds=2), "key": ("1",)})
    assert json.loads(capsys.readouterr().out) == {
        "at": "2026-03-01T12:00:05.120000Z",
        "on": "2026-03-01",
        "for": 2.0,
        "key": ["1"],
    }


def test_markup_in_a_plain_text_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    screen.print_line("column [bold] is missing", markup=False)
    assert capsys.readouterr().out == "column [bold] is missing\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "3s ago"), (119, "119s ago"), (120, "2m ago"), (7200, "2h ago"), (-30, "in 30s")],
)
def test_ages_have_one_unit(seconds: int, text: str) -> None:
    assert screen.ago(MOMENT - timedelta(seconds=seconds), MOMENT) == text


def test_counts_agree_with_their_word() -> None:
    assert [screen.counted(n, "row") for n in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
    assert screen.counted(2, "batch") == "2 batches"


def test_spare_columns_go_where_a_terminal_is_too_narrow_the_last_first() -> None:
    columns = [Column("source"), Column("app", spare=True), Column("state"), Column("held", spare=True)]
    rows = [["account_users", "app_db", "ok", "0"]]
    table = screen.rich_table(columns, rows)
    widest = len("account_users" + "  app_db" + "  state" + "  held")

    assert [screen.fitting(columns, rows, widest - cut) for cut in (0, 1, 7, 60)] == [
        [0, 1, 2, 3], [0, 1, 2], [0, 2], [0, 2],
    ]  # fmt: skip
    narrow = Console(width=widest, file=io.StringIO(), force_terminal=True)
    assert Measurement.get(narrow, narrow.options, table).maximum == widest
