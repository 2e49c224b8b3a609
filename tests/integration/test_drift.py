"""A source that no longer fits its definition stops its feed alone, says why, and loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.project import query, sqlite_url
from tests.integration.shop import MOMENT, ORDERS, USERS, Shop


@pytest.fixture(params=["postgres", "mysql", "sqlite"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    url = sqlite_url(tmp_path / "source.db")
    if request.param != "sqlite":
        url = request.getfixturevalue(f"{request.param}_database")
    with Shop.opened(request.param, url, tmp_path / "shop") as opened:
        yield opened


def rebuild(shop: Shop, table: str, columns: str, names: str) -> None:
    """The table with these columns and its rows: how SQLite changes a type."""
    shop.execute(
        f"CREATE TABLE rebuilt ({columns})",
        f"INSERT INTO rebuilt ({names}) SELECT {names} FROM {table}",
        f"DROP TABLE {table}",
        f"ALTER TABLE rebuilt RENAME TO {table}",
    )


def retype(shop: Shop, age: str, *, key: str = "id integer PRIMARY KEY", name: str = "varchar(20)") -> None:
    if shop.kind == "sqlite":
        columns = f"{key}, name {name}, age {age}, extra text, updated_at {MOMENT['sqlite']} NOT NULL"
        rebuild(shop, "users", columns, "id, name, age, extra, updated_at")
        return
    if shop.kind == "mysql":
        shop.execute(f"ALTER TABLE users MODIFY age {age}, MODIFY name {name}")
        return
    shop.execute(
        f"ALTER TABLE users ALTER age TYPE {age} USING age::text::{age}",
        f"ALTER TABLE users ALTER name TYPE {name}",
    )


def stopped(shop: Shop, *words: str) -> None:
    """The users' feed has stopped with these words, and the orders' goes on."""
    before = shop.journalled(USERS)
    shop.execute("INSERT INTO orders (id, user_id, updated_at) VALUES (77, 1, NOW())")
    shop.sync()
    users = shop.status(USERS)
    assert users.paused
    for word in (*words, "`headrace resume users`", "`headrace apply`"):
        assert word.lower() in str(users.paused_reason).lower()
    assert shop.journalled(USERS) == before
    assert not shop.status(ORDERS).paused
    assert shop.records()[0][3] == 2


def test_a_missing_column_stops_its_feed_until_it_is_back(shop: Shop) -> None:
    shop.execute("ALTER TABLE users RENAME COLUMN age TO years")
    stopped(shop, 'in table "users" column "age" is gone')
    shop.rename(2, "changed meanwhile")
    shop.execute("ALTER TABLE users RENAME COLUMN years TO age")
    assert shop.app.commands.resume(USERS)
    shop.sync()
    shop.assert_equal()


def made_anew(shop: Shop, *, stopping: Callable[[], None]) -> None:
    """The column `age` is dropped, and comes back with other values that no row's change tells of."""
    shop.execute("ALTER TABLE users DROP COLUMN age")
    stopping()
    shop.execute("ALTER TABLE users ADD COLUMN age integer DEFAULT 7")


def test_a_column_that_comes_back_with_other_values_is_compared_in_full(shop: Shop) -> None:
    made_anew(shop, stopping=lambda: stopped(shop, 'column "age" is gone'))
    shop.app.commands.resume(USERS)
    shop.sync()
    assert [record[2] for record in shop.records()] == [7, 7, 7]
    shop.assert_equal()
    compared = [run for run in shop.app.runs.runs(limit=20, source_id=USERS) if run.trigger == "reconcile"]
    assert len(compared) == 1
    shop.sync()
    assert compared == [r for r in shop.app.runs.runs(limit=20, source_id=USERS) if r.trigger == "reconcile"]


@pytest.mark.parametrize("shop", ["postgres"], indirect=True)
def test_a_column_made_anew_between_two_polls_is_compared_in_full(shop: Shop) -> None:
    made_anew(shop, stopping=lambda: None)
    shop.sync()
    assert [record[2] for record in shop.records()] == [7, 7, 7]
    assert shop.status(USERS).source_notes == ()
    before = shop.journalled(USERS)
    shop.execute("ALTER TABLE users ADD COLUMN more integer", "ALTER TABLE users DROP COLUMN extra")
    shop.execute("ALTER TABLE users ADD COLUMN extra text")
    shop.sync()
    assert shop.journalled(USERS) == before


def test_what_was_noted_of_a_source_that_fitted_is_not_told_of_one_that_stopped(shop: Shop) -> None:
    retype(shop, "bigint")
    shop.sync()
    assert any("age is bigint" in note for note in shop.status(USERS).source_notes)
    retype(shop, "text")
    shop.sync()
    assert "is text" in str(shop.status(USERS).paused_reason).lower()
    assert shop.status(USERS).source_notes == ()


def test_a_changed_type_stops_its_feed_until_it_is_applied_and_read_again(shop: Shop) -> None:
    retype(shop, "text")
    was = "int(11)" if shop.kind == "mysql" else "integer"
    stopped(shop, f'column "age" is text, and was {was} when the definitions were applied')
    shop.execute("UPDATE users SET age = '99' WHERE id = 3")  # the cursor does not tell
    assert tuple(shop.apply().reread) == ((USERS, "app"),)
    shop.sync()
    assert not shop.status(USERS).paused
    assert [record[2] for record in shop.records()] == [21, 22, 99]
    assert tuple(shop.apply().reread) == ()


def test_a_key_that_is_no_longer_unique_stops_its_feed(shop: Shop) -> None:
    if shop.kind == "sqlite":
        retype(shop, "integer", key="id integer NOT NULL")
    else:
        what = "PRIMARY KEY" if shop.kind == "mysql" else "CONSTRAINT users_pkey"
        shop.execute(f"ALTER TABLE users DROP {what}")
    stopped(shop, "the key (id) was unique and not null, and nothing sees to that any more")
    if shop.kind == "sqlite":
        retype(shop, "integer")
    else:
        shop.execute("CREATE UNIQUE INDEX by_id ON users (id)")
    shop.app.commands.resume(USERS)
    shop.sync()
    assert not shop.status(USERS).paused


def test_a_wider_type_goes_on_and_is_noted(shop: Shop) -> None:
    retype(shop, "bigint", name="varchar(40)")
    before = shop.journalled(USERS)
    shop.sync()
    # MariaDB makes the table anew for a wider integer, which cannot be told from a restored one.
    assert shop.journalled(USERS) == before or shop.kind == "mysql"
    shop.rename(2, "a name of more than twenty letters")
    shop.sync()
    users = shop.status(USERS)
    assert (users.paused, users.failures) == (False, 0)
    assert any(note.startswith("column age is bigint") for note in users.source_notes)
    assert len(users.source_notes) == 2
    shop.assert_equal()
    assert tuple(shop.apply().reread) == ()
    shop.sync()
    assert shop.status(USERS).source_notes == ()


def test_columns_that_the_feed_does_not_use_come_change_and_go(shop: Shop) -> None:
    before = shop.journalled(USERS)
    shop.execute("ALTER TABLE users ADD COLUMN more integer", "ALTER TABLE users DROP COLUMN extra")
    shop.sync()
    users = shop.status(USERS)
    assert (users.paused, users.source_notes) == (False, ())
    assert tuple(shop.apply().reread) == ()
    shop.sync()
    assert shop.journalled(USERS) == before


def test_a_new_property_reads_its_feed_again_and_no_other(shop: Shop) -> None:
    shop.execute("UPDATE users SET extra = 'more' WHERE id = 2")
    users = shop.definition("sources/users")
    users["properties"]["extra"] = {"type": "string", "column": "extra"}
    shop.define("sources/users", users)
    others = shop.journalled(ORDERS)
    assert tuple(shop.apply().reread) == ((USERS, "app"),)
    shop.sync()
    assert shop.journalled(ORDERS) == others
    extras = query(sqlite_url(shop.root / "store.db"), "SELECT extra FROM users ORDER BY id")
    assert extras == [(None,), ("more",), (None,)]


def altering_before_the_read(shop: Shop, change: Callable[[], object]) -> Any:
    """The source is altered after the poll has looked at it, right before its first read."""
    lend, left = shop.app.readers.lend, [change]

    class Lent:
        def __init__(self, reader: Any) -> None:
            self._reader = reader

        def __getattr__(self, name: str) -> Any:
            if name == "read" and left:
                left.pop()()
            return getattr(self._reader, name)

    @contextmanager
    def lent(app_id: Any) -> Iterator[Any]:
        with lend(app_id) as reader:
            yield Lent(reader)

    return lent


def test_a_type_that_changes_right_before_the_read_is_no_wrong_data(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shop.records()
    shop.rename(2, "late")
    lent = altering_before_the_read(shop, lambda: retype(shop, "text"))
    monkeypatch.setattr(shop.app.readers, "lend", lent)
    report = shop.app.poll(shop.feed(USERS))
    assert report.retryable
    assert 'table "users" was altered right before it was read' in str(report.error)
    shop.sync()
    assert shop.status(USERS).paused
    assert shop.records() == before
    shop.apply()
    shop.sync()
    assert shop.records()[1][1:3] == ("late", 22)
