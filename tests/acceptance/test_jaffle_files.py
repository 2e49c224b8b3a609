"""Jaffle shop as the CSV files that it comes in: no database between them and the records."""

from __future__ import annotations

import csv
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.acceptance.conftest import shared
from tests.acceptance.project import Project, sqlite_url
from tests.acceptance.records import Records, Store, assert_equal_records, oracle, property_types
from tests.acceptance.test_jaffle import FILES, KEY, ORACLE, TABLES, assert_readme
from tests.acceptance.test_jaffle import definitions as database_definitions

ORDERS_ORACLE = """
SELECT o.id, o.status, coalesce(p.paid, 0), coalesce(p.payments, 0)
  FROM raw_orders o
  LEFT JOIN (SELECT order_id, sum(amount) AS paid, count(*) AS payments FROM raw_payments GROUP BY order_id) p
    ON p.order_id = o.id
"""
PAYMENTS = """
SELECT p.id, p.payment_method, p.amount, o.user_id FROM raw_payments p JOIN raw_orders o ON o.id = p.order_id
"""


def definitions(store: Store) -> dict[str, Any]:
    """Those of the database, with paths for tables and a type for each key. Files have no queries: what a
    customer has paid comes from an export that names the customer, in Parquet."""
    given = database_definitions(store)
    customers, orders, payments = (given[f"sources/{name}"] for name in ("customers", "orders", "payments"))
    typed_key = {"id": {"type": "integer", "column": "id"}}
    return given | {
        "apps/jaffle": {"name": "Jaffle shop", "type": "files", "url": "${JAFFLE_URL}"},
        "sources/customers": customers
        | {"table": "raw_customers.csv", "properties": typed_key | customers["properties"]},
        "sources/orders": orders | {"table": "raw_orders.csv"},
        "sources/payments": {key: value for key, value in payments.items() if key != "query"}
        | {"table": "payments/*.parquet"},
        "models/orders": {"name": "Orders", "schema": "cafe"},
        "sources/order_rows": {
            "name": "Orders",
            "model": "orders",
            "primary": True,
            "app": "jaffle",
            "table": "raw_orders.csv",
            "key": ["id"],
            "properties": typed_key | {"status": {"type": "string", "column": "status"}},
        },
        "sources/order_payments": {
            "name": "Payments",
            "model": "orders",
            "app": "jaffle",
            "table": "raw_payments.csv",
            "key": ["id"],
            "mapping": {"order_id": "id"},
            "properties": {
                "paid": {"type": "integer", "aggregation": "sum", "column": "amount"},
                "payments": {"type": "integer", "aggregation": "count"},
            },
        },
    }


class Exports:
    """The directory of files, and the same rows in a database for the oracle."""

    def __init__(self, directory: Path, database: Path) -> None:
        self.directory = directory
        self._database = database
        directory.mkdir()
        for table in TABLES:
            shutil.copy(FILES / f"{table}.csv", directory)
        self.export_payments()

    def change(self, table: str, change: Callable[[list[list[str]]], list[list[str]]]) -> None:
        """The file holds the changed rows; it is written anew and renamed, as an export should be."""
        file = self.directory / f"{table}.csv"
        with file.open(newline="") as lines:
            header, *rows = csv.reader(lines)
        new = file.with_name(f".{table}.tmp")
        with new.open("w", newline="") as lines:
            csv.writer(lines).writerows([header, *change(rows)])
        new.rename(file)

    def export_payments(self) -> None:
        """The payments with their customers, as one Parquet file."""
        with closing(sqlite3.connect(self.as_database())) as database:
            cursor = database.execute(PAYMENTS)
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
        folder = self.directory / "payments"
        folder.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / ".new")
        (folder / ".new").rename(folder / "all.parquet")

    def as_database(self) -> Path:
        """A SQLite database with the files' rows as they are now."""
        self._database.unlink(missing_ok=True)
        with closing(sqlite3.connect(self._database)) as database, database:
            for table, columns in TABLES.items():
                database.execute(f"CREATE TABLE {table} ({columns})")
                with (self.directory / f"{table}.csv").open(newline="") as lines:
                    header, *rows = csv.reader(lines)
                marks = ", ".join("?" * len(header))
                database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        return self._database


@pytest.fixture
def exports(tmp_path: Path) -> Exports:
    shared(FILES)
    return Exports(tmp_path / "exports", tmp_path / "oracle.db")


def assert_as_in_the_files(exports: Exports, store: Store) -> Records:
    """Every record of both models is the oracle's; gives those of the customers."""
    url, given = sqlite_url(exports.as_database()), definitions(store)
    for model, statement in (("orders", ORDERS_ORACLE), ("customers", ORACLE)):
        types = property_types(given, model, KEY)
        records = store.records(model, types, KEY)
        assert_equal_records(oracle(url, statement, types, KEY, customer="default"), records)
    return records


@pytest.mark.services
def test_files_are_merged_and_followed_without_a_database(
    exports: Exports, store: Store, tmp_path: Path
) -> None:
    environment = {"JAFFLE_URL": exports.directory.as_uri(), "STORE_URL": store.url}
    project = Project.create(tmp_path / "project", definitions(store), environment, warm=True)
    project.headrace("validate", "--connect")
    project.headrace("sync", "--strict")
    assert_readme(assert_as_in_the_files(exports, store))

    batches, contents = project.journalled_batches(), store.contents()
    (exports.directory / "raw_customers.csv").touch()
    project.headrace("sync")
    assert (project.journalled_batches(), store.contents()) == (batches, contents)

    exports.change("raw_customers", lambda rows: [["1", "Michael", "Ø"], *rows[2:], ["500", "New", "N."]])
    exports.change(
        "raw_payments", lambda rows: [[*rows[0][:3], "99"], *rows[3:], ["500", "1", "coupon", "7"]]
    )
    exports.export_payments()
    project.headrace("sync")
    assert ("default", 2) not in assert_as_in_the_files(exports, store)

    (exports.directory / "raw_customers.csv").rename(exports.directory / "elsewhere.txt")
    before = store.contents()
    project.headrace("sync", exit_code=1)
    assert store.contents() == before  # a file that is missing says nothing of its rows
    (exports.directory / "elsewhere.txt").rename(exports.directory / "raw_customers.csv")

    exports.change("raw_orders", lambda rows: [*rows[1:], ["500", "3", "1999-12-31", "found late"]])
    exports.export_payments()
    project.headrace("sync")
    project.headrace("reconcile", "orders")
    assert_as_in_the_files(exports, store)
