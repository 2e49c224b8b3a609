"""Sakila as a source: the shop that Pagila was made from, in MySQL, with the same model and changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any

from tests.acceptance import pagila
from tests.acceptance.records import Store
from tests.conftest import mysql_connection

FILES = Path(__file__).parents[3] / "shared" / "data" / "sakila-mysql"

KEY = pagila.KEY
RECONCILED = (("renters",), ("rentals",), ("payments",), ("renter_addresses",))

ORACLE = """
SELECT c.customer_id, c.first_name, c.last_name, c.email, c.address_id, c.active, DATE(c.create_date),
       coalesce(r.rental_count, 0), r.last_rental_date,
       coalesce(p.payment_count, 0), coalesce(p.total_paid, 0),
       (SELECT amount FROM payment x WHERE x.customer_id = c.customer_id
         ORDER BY payment_date DESC, payment_id DESC LIMIT 1),
       p.last_payment_date, a.address, a.district, a.postal_code
  FROM customer c
  LEFT JOIN (SELECT customer_id, count(*) AS rental_count, max(rental_date) AS last_rental_date
               FROM rental GROUP BY customer_id) r ON r.customer_id = c.customer_id
  LEFT JOIN (SELECT customer_id, count(*) AS payment_count, sum(amount) AS total_paid,
                    max(payment_date) AS last_payment_date
               FROM payment GROUP BY customer_id) p ON p.customer_id = c.customer_id
  LEFT JOIN address a ON a.address_id = c.address_id
"""
"""Columns in the order of `property_types(definitions(...), "renters", KEY)`."""

_TABLES = ("customer", "rental", "payment", "address")
_QUALIFIED = re.compile(r"(FROM|JOIN) sakila\.")
_OF_THEIR_OWN_DATABASE = re.compile(r"(DROP SCHEMA|CREATE SCHEMA|USE )")


def load(url: str) -> None:
    """Load Sakila's two files into the URL's database, not into the one that they name."""
    with closing(mysql_connection(url)) as connection, connection.cursor() as cursor:
        for file in ("sakila-schema.sql", "sakila-data.sql"):
            for statement in _statements(FILES / file):
                if not _OF_THEIR_OWN_DATABASE.match(statement):
                    cursor.execute(_QUALIFIED.sub(r"\1 ", statement))


def clone(loaded_url: str, url: str) -> None:
    """The tables that are sources, without foreign keys: a source need not have any, and without them the
    changes below may leave orphans."""
    loaded = loaded_url.rsplit("/", 1)[1]
    with closing(mysql_connection(url)) as connection, connection.cursor() as cursor:
        for table in _TABLES:
            cursor.execute(f"CREATE TABLE {table} LIKE {loaded}.{table}")
            cursor.execute(f"INSERT INTO {table} SELECT * FROM {loaded}.{table}")
        cursor.execute("SHOW COLUMNS FROM address LIKE 'location'")
        if cursor.fetchall():  # MySQL alone has it, and would want it for every new address
            cursor.execute("ALTER TABLE address DROP COLUMN location")


def _statements(file: Path) -> Iterator[str]:
    """Statements of a script for the mysql client, which knows DELIMITER."""
    delimiter, lines = ";", list[str]()
    for line in file.read_text().splitlines():
        if line.startswith("DELIMITER "):
            delimiter = line.split()[1]
        elif line.strip() and not line.startswith("--"):
            lines.append(line)
            if line.rstrip().endswith(delimiter):
                yield "\n".join(lines).strip().removesuffix(delimiter)
                lines = []


def definitions(store: Store) -> dict[str, Any]:
    """Pagila's, where Sakila's columns and the URL are not others."""
    made = deepcopy(pagila.definitions(store))
    del made["apps/pagila"]
    made["apps/sakila"] = {"name": "Sakila", "type": "mysql", "url": "${SAKILA_URL}"}
    for place, source in made.items():
        if place.startswith("sources/"):
            source["app"] = "sakila"
            source["table"] = source["table"].removeprefix("public.")
    made["sources/renters"]["properties"]["active"]["column"] = "active"
    made["sources/payments"]["key"] = ["payment_id"]
    made["sources/payments"]["schedule"] = made["sources/rentals"]["schedule"]
    return made


class Changes(pagila.Changes):
    """The same changes, as MySQL says them."""

    nowhere = 65_000

    def transaction(self) -> Any:
        return _Transaction(self.connection)

    def run(self, statement: str, **values: Any) -> int:
        said = statement.replace("public.", "").replace("clock_timestamp()", "now()")
        said = re.sub(r"= ANY\((%\(\w+\)s)\)", r"IN \1", said)
        said = re.sub(r"(%\(\w+\)s) \* interval '1 day'", r"INTERVAL \1 DAY", said)
        if said.endswith("ON CONFLICT DO NOTHING"):
            said = said.removesuffix("ON CONFLICT DO NOTHING").replace("INSERT INTO", "INSERT IGNORE INTO")
        with self.connection.cursor() as cursor:
            return int(cursor.execute(said, values))

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement.replace("public.", ""))
            return list(cursor.fetchall())

    def payment_date(self) -> str:
        return super().payment_date().partition(".")[0]

    def next_key(self, table: str, key: str) -> int:
        return int(self.rows(f"SELECT max({key}) + 1 FROM {table}")[0][0])

    def add_an_address_and_move_there(self) -> None:
        renter, address = self.some("customer", "customer_id"), self.next_key("address", "address_id")
        self.run(
            "INSERT INTO address (address_id, address, district, city_id, phone)"
            " VALUES (%(address)s, '1 New Street', 'New', 1, '0')",
            address=address,
        )
        self.run(
            "UPDATE customer SET address_id = %(address)s WHERE customer_id = %(id)s",
            id=renter,
            address=address,
        )

    def add_renter(self) -> None:
        stamp = self.dice.choice(["now()", "NULL"])
        self.run(
            "INSERT IGNORE INTO customer"
            " (customer_id, store_id, first_name, last_name, address_id, create_date, last_update)"
            f" VALUES (%(id)s, 1, 'NEW', 'RENTER', %(address)s, now(), {stamp})",
            id=5000 + self.dice.randrange(50),
            address=self.some("address", "address_id"),
        )


class _Transaction:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.begin()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._connection.commit()
        else:
            self._connection.rollback()
