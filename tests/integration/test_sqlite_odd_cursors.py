"""A SQLite column holds what it is given: values among a cursor's times that are none stop no feed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from headrace.domain.vocabulary import FeedClass
from headrace.ports import ReadPlan, Relation
from headrace.sources.sqlite import SqliteReader
from tests.acceptance.project import sqlite_url
from tests.integration.shop import USERS, Shop

PLAN = ReadPlan(relation=Relation("things"), columns=("id", "at"), key=("id",), cursor="at")
UNREADABLE = "31/12/2025"
"""It begins as a time of the column does, sorts after them all, and is none."""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Shop.opened("sqlite", sqlite_url(tmp_path / "source.db"), tmp_path / "shop") as shop:
        yield shop


def add_odd(shop: Shop, *cursors: str) -> None:
    """Those that sort before the times are found by the next reconciliation."""
    for number, cursor in enumerate(cursors, start=70):
        shop.execute(f"INSERT INTO users VALUES ({number}, 'odd', 1, NULL, '{cursor}')")
    shop.sync()
    shop.app.commands.request_reconcile(USERS, full=False, confirm=False)
    shop.sync()
    shop.assert_equal()


@pytest.mark.parametrize("odd", ["n/a", "", "0", UNREADABLE])
def test_updates_go_on_once_an_odd_value_has_gone(shop: Shop, odd: str) -> None:
    add_odd(shop, odd)
    assert shop.status(USERS).feed_class is FeedClass.EVENTUAL
    shop.execute("UPDATE users SET updated_at = NOW() WHERE id = 70")
    shop.sync()
    assert shop.status(USERS).feed_class is FeedClass.EXACT
    shop.rename(1, "changed")
    shop.sync()
    shop.assert_equal()


@pytest.mark.parametrize("odd", [("n/a",), ("",), ("n/a", "", "5"), ("", "2099-01-01 00:00:00.000")])
def test_updates_go_on_beside_odd_values(shop: Shop, odd: tuple[str, ...]) -> None:
    add_odd(shop, *odd)
    shop.rename(1, "changed")
    shop.add(9)
    shop.sync()
    shop.assert_equal()
    assert "holds values that are no times" in shop.status(USERS).class_reason


def test_a_far_date_that_was_read_without_a_clock_hides_nothing_later(shop: Shop) -> None:
    add_odd(shop, UNREADABLE, "2099-01-01 00:00:00.000")
    shop.execute("DELETE FROM users WHERE id = 70")
    shop.rename(1, "changed")
    shop.sync()
    assert shop.records()[0][1] == "changed"
    assert shop.status(USERS).feed_class is FeedClass.EXACT


def test_a_feed_that_turns_out_eventual_is_reconciled_in_full_and_an_exact_one_by_keys(shop: Shop) -> None:
    silently = "UPDATE users SET name = '{}' WHERE id = 1"
    shop.execute(silently.format("hidden"))
    shop.app.commands.request_reconcile(USERS, full=False, confirm=False)
    shop.sync()
    assert shop.records()[0][1] == "user 1", "an exact feed need not compare values"
    add_odd(shop, "n/a")
    assert shop.records()[0][1] == "hidden"
    assert not shop.status(USERS).reconciling


@pytest.mark.parametrize(
    ("declared", "values", "like"),
    [
        ("TEXT", ("2026-01-01T10:00:00Z", "n/a", ""), "T"),
        ("DATETIME", ("2026-01-01 10:00:00", "n/a", 0, b"blob"), " "),
        ("", ("2026-01-01 10:00:00", "n/a", 0), " "),
        ("INTEGER", (1_700_000_000, "n/a", ""), "1"),
        ("TEXT", ("2026-01-01", "2026-01-01 10:00:00"), None),
        ("NUMERIC", ("2026-01-01", 1_700_000_000), None),
        ("NUMERIC", ("n/a", 5), None),
    ],
)
def test_the_clock_has_the_one_form_that_times_have(
    tmp_path: Path, declared: str, values: tuple[object, ...], like: str | None
) -> None:
    file = tmp_path / "things.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"CREATE TABLE things (id INTEGER PRIMARY KEY, at {declared})")
        connection.executemany("INSERT INTO things (at) VALUES (?)", [(value,) for value in values])
        connection.commit()
    with closing(SqliteReader("shop", sqlite_url(file))) as reader:
        fence = reader.fence(PLAN, None)
        skewed = reader.fence(_skewed(), None)
    assert fence.feed_class is FeedClass.EVENTUAL
    assert (fence.now is None) is (like is None)
    assert like is None or like in str(fence.now)
    assert (skewed.now is None) is (like is None)


def _skewed() -> ReadPlan:
    return ReadPlan(
        relation=PLAN.relation, columns=PLAN.columns, key=PLAN.key, cursor="at",
        skew_s=timedelta(minutes=1).total_seconds(),
    )  # fmt: skip
