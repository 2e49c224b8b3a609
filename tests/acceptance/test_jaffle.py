"""Jaffle shop loaded in SQLite: a business date as cursor, tables with no change column, and a query."""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import shared
from tests.acceptance.project import Project, execute, sqlite_url
from tests.acceptance.records import (
    Records,
    SqliteStore,
    Store,
    as_value,
    assert_equal_records,
    oracle,
    property_types,
)

FILES = Path(__file__).parents[3] / "shared" / "data" / "jaffle-shop"
KEY = {"id": "integer"}

TABLES = {
    "raw_customers": "id INTEGER PRIMARY KEY, first_name TEXT, last_name TEXT",
    "raw_orders": "id INTEGER PRIMARY KEY, user_id INTEGER, order_date DATE, status TEXT",
    "raw_payments": "id INTEGER PRIMARY KEY, order_id INTEGER, payment_method TEXT, amount INTEGER",
}

ORACLE = """
SELECT c.id, c.first_name, c.last_name,
       coalesce(o.order_count, 0), o.last_order, coalesce(p.paid_cents, 0), coalesce(p.payment_methods, 0)
  FROM raw_customers c
  LEFT JOIN (SELECT user_id, count(*) AS order_count, max(order_date) AS last_order
               FROM raw_orders GROUP BY user_id) o ON o.user_id = c.id
  LEFT JOIN (SELECT o.user_id, sum(p.amount) AS paid_cents,
                    count(DISTINCT p.payment_method) AS payment_methods
               FROM raw_payments p JOIN raw_orders o ON o.id = p.order_id
              GROUP BY o.user_id) p ON p.user_id = c.id
"""

README = {
    1: ("Michael", 2, "2018-02-10", 3300),
    3: ("Kathleen", 3, "2018-03-11", 6500),
    54: ("Rose", 5, "2018-03-24", 5700),
}


def definitions(store: Store) -> dict[str, Any]:
    return {
        "apps/jaffle": {"name": "Jaffle shop", "type": "sqlite", "url": "${JAFFLE_URL}"},
        "schemas/cafe": {"name": "Café"},
        "visibility_groups/production": {"name": "Production"},
        "data_sources/main": {
            "nickname": "Main",
            "provided_id": "main-1",
            "schema": "cafe",
            "visibility_groups": ["production"],
            "default_for": ["production"],
        }
        | store.definition(),
        "models/customers": {"name": "Customers", "schema": "cafe"},
        "sources/customers": {
            "name": "Customers",
            "model": "customers",
            "primary": True,
            "app": "jaffle",
            "table": "raw_customers",
            "key": ["id"],
            "schedule": {"every": "5m"},
            "properties": {
                "first_name": {"type": "string", "column": "first_name"},
                "last_name": {"type": "string", "column": "last_name"},
            },
        },
        "sources/orders": {
            "name": "Orders",
            "model": "customers",
            "app": "jaffle",
            "table": "raw_orders",
            "key": ["id"],
            "mapping": {"user_id": "id"},
            "schedule": {"every": "1m", "cursor": "order_date", "clock": "business"},
            "properties": {
                "order_count": {"type": "integer", "aggregation": "count"},
                "last_order": {"type": "date", "aggregation": "max", "column": "order_date"},
            },
        },
        "sources/payments": {
            "name": "Payments",
            "model": "customers",
            "app": "jaffle",
            "query": "SELECT p.id, p.payment_method, p.amount, o.user_id FROM raw_payments p"
            " JOIN raw_orders o ON o.id = p.order_id",
            "key": ["id"],
            "mapping": {"user_id": "id"},
            "schedule": {"every": "5m"},
            "properties": {
                "paid_cents": {"type": "integer", "aggregation": "sum", "column": "amount"},
                "payment_methods": {
                    "type": "integer",
                    "aggregation": "count_distinct",
                    "column": "payment_method",
                },
            },
        },
    }


@pytest.fixture
def jaffle_url(tmp_path: Path) -> str:
    """The three CSV files as tables of a SQLite database."""
    shared(FILES)
    path = tmp_path / "jaffle.db"
    with closing(sqlite3.connect(path)) as database, database:
        for table, columns in TABLES.items():
            database.execute(f"CREATE TABLE {table} ({columns})")
            with (FILES / f"{table}.csv").open(newline="") as lines:
                header, *rows = csv.reader(lines)
            assert header == [column.split()[0] for column in columns.split(", ")]
            marks = ", ".join("?" * len(header))
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
    return sqlite_url(path)


def expected(url: str, store: Store) -> Records:
    types = property_types(definitions(store), "customers", KEY)
    return oracle(url, ORACLE, types, KEY, customer="default")


def actual(store: Store) -> Records:
    return store.records("customers", property_types(definitions(store), "customers", KEY), KEY)


def assert_readme(records: Records) -> None:
    assert len(records) == 100
    assert sum(record["order_count"] == 0 for record in records.values()) == 38
    for key, (name, orders, last, cents) in README.items():
        record = records["default", key]
        assert (record["first_name"], record["order_count"], record["paid_cents"]) == (name, orders, cents)
        assert record["last_order"] == as_value("date", last)


def test_the_oracle_gives_the_numbers_of_the_readme(jaffle_url: str, tmp_path: Path) -> None:
    assert_readme(expected(jaffle_url, SqliteStore(tmp_path / "unused.db")))


@pytest.mark.services
def test_jaffle_shop_is_merged_without_a_change_column(jaffle_url: str, store: Store, tmp_path: Path) -> None:
    environment = {"JAFFLE_URL": jaffle_url, "STORE_URL": store.url}
    project = Project.create(tmp_path / "project", definitions(store), environment, warm=True)
    project.headrace("sync", "--strict")
    assert_equal_records(expected(jaffle_url, store), actual(store))
    assert_readme(actual(store))

    batches, contents = project.journalled_batches(), store.contents()
    project.headrace("sync")
    assert (project.journalled_batches(), store.contents()) == (batches, contents)

    execute(
        jaffle_url,
        "UPDATE raw_customers SET last_name = 'Ø' WHERE id = 1",
        "DELETE FROM raw_customers WHERE id = 54",
        "INSERT INTO raw_customers VALUES (500, 'New', 'N.')",
        "INSERT INTO raw_orders VALUES (500, 500, '2018-04-10', 'placed')",
        "UPDATE raw_payments SET amount = amount + 1, order_id = 500 WHERE id IN (1, 2)",
        "DELETE FROM raw_payments WHERE id = 3",
    )
    project.headrace("sync")
    assert_equal_records(expected(jaffle_url, store), actual(store))

    execute(
        jaffle_url,
        "INSERT INTO raw_orders VALUES (501, 2, '1999-12-31', 'found late')",
        "UPDATE raw_orders SET user_id = 4, status = 'moved' WHERE id = 2",
        "DELETE FROM raw_orders WHERE id = 7",
    )
    project.headrace("sync")
    project.headrace("reconcile", "orders")
    assert_equal_records(expected(jaffle_url, store), actual(store))
