"""A data source that is not what was applied: another one's tables, or tables that lack a part."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import psycopg
import pytest

from headrace.domain.vocabulary import FeedId
from headrace.errors import ConfigurationError, DataSourceDriftedError, DataSourceUnfitError
from headrace.ports import RecordStore
from headrace.stores import open_store
from tests.conformance.store_rows import scope
from tests.conformance.test_record_store_prepare import ORDERS, SHAPE, USERS, catalogue, fill, records


@pytest.fixture
def filled(store: RecordStore) -> RecordStore:
    store.prepare([SHAPE])
    fill(
        store,
        SHAPE,
        users=[{"user_id": 1, "email": "a"}, {"user_id": 2}],
        orders=[{"id": i, "buyer": 1, "amount": str(i)} for i in (1, 2, 3)],
    )
    return store


def alter(store_url: str, *statements: str) -> None:
    """By a plain client, in the data source's namespace."""
    if store_url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(store_url.removeprefix("sqlite:///"))) as plain, plain:
            for statement in statements:
                plain.execute(statement)
        return
    with psycopg.connect(store_url, autocommit=True) as connection:
        connection.execute("SET search_path = headrace")
        for statement in statements:
            connection.execute(statement.encode())


def applied_feeds(store: RecordStore) -> set[FeedId]:
    return set(store.applied(SHAPE))


def again(store_url: str, *, data_source_id: str = "main", workspace: str = "w1") -> RecordStore:
    """The same data source as another process opens it."""
    return open_store(
        data_source_id=data_source_id, url=store_url, namespace="headrace", workspace=workspace, schema="shop"
    )


LOSSES = {
    "column": (["ALTER TABLE users DROP COLUMN email"], "column users.email is missing"),
    "aggregate": (["ALTER TABLE users DROP COLUMN total"], "column users.total is missing"),
    "staged table": (["DROP TABLE _staged_orders"], "table _staged_orders is missing"),
    "staged column": (
        ["ALTER TABLE _staged_orders DROP COLUMN amount"],
        "column _staged_orders.amount is missing",
    ),
    "table": (["DROP TABLE users"], "table users is missing"),
    "type": (
        ["ALTER TABLE users DROP COLUMN email", "ALTER TABLE users ADD COLUMN email integer"],
        "column users.email is of type",
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_lacks_a_part_is_neither_read_nor_written_until_apply_mends_it(
    filled: RecordStore, store_url: str, loss: str
) -> None:
    statements, told = LOSSES[loss]
    alter(store_url, *statements)
    with contextlib.closing(again(store_url)) as other:
        with pytest.raises(DataSourceDriftedError, match=told) as caught:
            other.count(SHAPE)
        assert "headrace apply" in str(caught.value)
        assert caught.value.model == "users"
        with pytest.raises(DataSourceDriftedError), other.merging(SHAPE):
            pass
        assert other.prepare([SHAPE])
        assert other.pending_changes([SHAPE]) == ()
        with other.merging(SHAPE) as transaction:
            assert transaction is not None


@pytest.mark.parametrize(
    ("loss", "forgotten"),
    [
        ("column", USERS),
        ("type", USERS),
        ("table", USERS),
        ("staged table", ORDERS),
        ("staged column", ORDERS),
    ],
)
def test_apply_reads_again_what_was_lost(
    filled: RecordStore, store_url: str, loss: str, forgotten: object
) -> None:
    alter(store_url, *LOSSES[loss][0])
    with contextlib.closing(again(store_url)) as other:
        other.prepare([SHAPE])
        lost = USERS if forgotten is USERS else ORDERS
        kept = ORDERS if lost is USERS else USERS
        assert applied_feeds(other) == {scope(kept).feed_id}


def test_an_aggregate_that_was_lost_is_computed_from_the_rows_that_are_there(
    filled: RecordStore, store_url: str
) -> None:
    alter(store_url, *LOSSES["aggregate"][0])
    with contextlib.closing(again(store_url)) as other:
        other.prepare([SHAPE])
        assert [r["total"] for r in records(other, SHAPE)] == ["6", "0"]
        assert applied_feeds(other) == {scope(USERS).feed_id, scope(ORDERS).feed_id}


def test_a_statement_that_misses_a_part_makes_the_next_one_say_what(
    filled: RecordStore, store_url: str
) -> None:
    assert filled.count(SHAPE) == 2  # its connection has looked, and works by that for a minute
    alter(store_url, "ALTER TABLE users DROP COLUMN email")
    with pytest.raises(ConfigurationError):
        records(filled, SHAPE)
    with pytest.raises(DataSourceDriftedError, match=r"users\.email is missing"):
        records(filled, SHAPE)


def test_what_somebody_adds_is_no_drift_and_stays(filled: RecordStore, store_url: str) -> None:
    alter(
        store_url,
        "ALTER TABLE users ADD COLUMN note text",
        "ALTER TABLE _staged_orders ADD COLUMN note text",
        "CREATE TABLE of_somebody (id integer)",
        "CREATE INDEX of_somebody_email ON users (email)",
        "UPDATE users SET note = 'mine'",
    )
    with contextlib.closing(again(store_url)) as other:
        assert other.pending_changes([SHAPE]) == ()
        assert other.prepare([SHAPE]) == ()
        fill(other, SHAPE, users=[{"user_id": 1, "email": "b"}, {"user_id": 3}])
        assert [r["email"] for r in records(other, SHAPE)] == ["b", None, None]
        assert "note" in catalogue(store_url, "users")[0]
        assert "note" in catalogue(store_url, "_staged_orders")[0]


# --- the stamp ----------------------------------------------------------------------------------


def test_tables_with_another_stamp_are_never_read_or_written(filled: RecordStore, store_url: str) -> None:
    for name, workspace in [("other", "w1"), ("main", "w2")]:
        with contextlib.closing(again(store_url, data_source_id=name, workspace=workspace)) as other:
            with pytest.raises(DataSourceUnfitError, match="belong to data source 'main'"):
                other.count(SHAPE)
            with pytest.raises(DataSourceUnfitError, match="belong to data source 'main'"):
                other.held_rows()
            with pytest.raises(DataSourceUnfitError, match="belong to"), other.merging(SHAPE):
                pass
    assert filled.count(SHAPE) == 2


@pytest.mark.parametrize("statement", ["DELETE FROM _identity", "DROP TABLE _identity"])
def test_tables_without_a_stamp_are_nobodys(filled: RecordStore, store_url: str, statement: str) -> None:
    alter(store_url, statement)
    with contextlib.closing(again(store_url)) as other:
        with pytest.raises(DataSourceUnfitError, match="no tables of it"):
            other.count(SHAPE)
        with pytest.raises(DataSourceUnfitError), other.merging(SHAPE):
            pass


def test_each_merge_looks_for_the_stamp_and_reads_only_on_new_connections(
    filled: RecordStore, store_url: str
) -> None:
    assert filled.count(SHAPE) == 2
    alter(store_url, "UPDATE _identity SET workspace = 'w2'")
    assert filled.count(SHAPE) == 2  # the connection is the one that was asked
    with pytest.raises(DataSourceUnfitError), filled.merging(SHAPE):
        pass
    with pytest.raises(DataSourceUnfitError):  # which has ended all connections
        filled.count(SHAPE)


def test_swapped_urls_are_found_before_a_row_is_read_or_written(tmp_path: Path) -> None:
    urls = {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("east", "west")}
    for name, url in urls.items():
        with contextlib.closing(again(url, data_source_id=name)) as store:
            store.prepare([SHAPE])
            fill(store, SHAPE, users=[{"user_id": 1, "email": f"marker-of-{name}"}])
    shutil.move(tmp_path / "east.db", tmp_path / "swap.db")
    shutil.move(tmp_path / "west.db", tmp_path / "east.db")
    shutil.move(tmp_path / "swap.db", tmp_path / "west.db")
    for name, url in urls.items():
        with contextlib.closing(again(url, data_source_id=name)) as store:
            with pytest.raises(DataSourceUnfitError) as caught:
                records(store, SHAPE)
            assert "marker" not in str(caught.value)
            with pytest.raises(DataSourceUnfitError):
                fill(store, SHAPE, users=[{"user_id": 2}])


def test_a_swap_is_logged_loudly_and_once(
    filled: RecordStore, store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.closing(again(store_url, data_source_id="other")) as other:
        for _ in range(3):
            with pytest.raises(DataSourceUnfitError):
                other.count(SHAPE)
    assert caplog.text.count("data source leads to tables of another") == 1
