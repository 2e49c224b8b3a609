"""Pagila as a source: loading it, the model `renters`, its oracle, and random changes to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from tests.acceptance.records import Store

FILES = Path(__file__).parents[3] / "shared" / "data" / "pagila"

KEY = {"customer_id": "integer"}

ORACLE = """
SELECT c.customer_id, c.first_name, c.last_name, c.email, c.address_id, c.activebool, c.create_date,
       coalesce(r.rental_count, 0), r.last_rental_date,
       coalesce(p.payment_count, 0), coalesce(p.total_paid, 0), p.last_amount, p.last_payment_date,
       a.address, a.district, a.postal_code
  FROM public.customer c
  LEFT JOIN (SELECT customer_id, count(*) AS rental_count, max(rental_date) AS last_rental_date
               FROM public.rental GROUP BY customer_id) r USING (customer_id)
  LEFT JOIN (SELECT customer_id, count(*) AS payment_count, sum(amount) AS total_paid,
                    (array_agg(amount ORDER BY payment_date DESC, payment_id DESC))[1] AS last_amount,
                    max(payment_date) AS last_payment_date
               FROM public.payment GROUP BY customer_id) p USING (customer_id)
  LEFT JOIN public.address a ON a.address_id = c.address_id
"""
"""Columns in the order of `property_types(definitions(...), "renters", KEY)`."""


def load(url: str) -> None:
    """Load Pagila's two files, then drop its foreign keys: a source need not have any, and without them
    the changes below may leave orphans."""
    with psycopg.connect(url) as connection:
        connection.execute((FILES / "pagila-schema.sql").read_text())
        for statement, rows in _statements(FILES / "pagila-data.sql"):
            if rows is None:
                connection.execute(statement)
                continue
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(rows)
        connection.execute(
            """
            DO $$ DECLARE t record; BEGIN
              FOR t IN SELECT conrelid::regclass AS name, conname FROM pg_constraint
                        WHERE contype = 'f' AND conparentid = 0 LOOP
                EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', t.name, t.conname);
              END LOOP;
            END $$
            """
        )


def _statements(file: Path) -> Iterator[tuple[str, str | None]]:
    """SQL of a pg_dump, each COPY with its rows."""
    plain: list[str] = []
    lines = iter(file.read_text().splitlines(keepends=True))
    for line in lines:
        if not line.startswith("COPY "):
            plain.append(line)
            continue
        if "".join(plain).strip():
            yield "".join(plain), None
        plain = []
        rows = []
        for row in lines:
            if row == "\\.\n":
                break
            rows.append(row)
        yield line.strip().removesuffix(";"), "".join(rows)
    if "".join(plain).strip():
        yield "".join(plain), None


def definitions(store: Store, *, every: str = "1m", page_rows: int | None = None) -> dict[str, Any]:
    """Renters with rentals, payments and, through `address_id`, addresses."""
    schedule: dict[str, Any] = {"every": every}
    if page_rows is not None:
        schedule["page_rows"] = page_rows
    tracked = schedule | {"cursor": "last_update", "clock": "database"}
    return {
        "apps/pagila": {"name": "Pagila", "type": "postgres", "url": "${PAGILA_URL}"},
        "schemas/rentals": {"name": "Rentals"},
        "visibility_groups/production": {"name": "Production"},
        "data_sources/main": {
            "nickname": "Main",
            "provided_id": "main-1",
            "schema": "rentals",
            "visibility_groups": ["production"],
            "default_for": ["production"],
        }
        | store.definition(),
        "models/renters": {"name": "Renters", "schema": "rentals"},
        "sources/renters": {
            "name": "Renters",
            "model": "renters",
            "primary": True,
            "app": "pagila",
            "table": "public.customer",
            "key": ["customer_id"],
            "schedule": tracked,
            "properties": {
                "first_name": {"type": "string", "column": "first_name"},
                "last_name": {"type": "string", "column": "last_name"},
                "email": {"type": "email", "column": "email"},
                "address_id": {"type": "integer", "column": "address_id"},
                "active": {"type": "boolean", "column": "activebool"},
                "created_on": {"type": "date", "column": "create_date"},
            },
        },
        "sources/rentals": {
            "name": "Rentals",
            "model": "renters",
            "app": "pagila",
            "table": "public.rental",
            "key": ["rental_id"],
            "mapping": {"customer_id": "customer_id"},
            "schedule": tracked,
            "properties": {
                "rental_count": {"type": "integer", "aggregation": "count"},
                "last_rental_date": {
                    "type": "datetime",
                    "aggregation": "max",
                    "column": "rental_date",
                },
            },
        },
        "sources/payments": {
            "name": "Payments",
            "model": "renters",
            "app": "pagila",
            "table": "public.payment",
            "key": ["payment_date", "payment_id"],
            "mapping": {"customer_id": "customer_id"},
            "schedule": schedule,
            "properties": {
                "payment_count": {"type": "integer", "aggregation": "count", "column": "payment_id"},
                "total_paid": {"type": "decimal", "aggregation": "sum", "column": "amount"},
                "last_amount": {
                    "type": "decimal",
                    "aggregation": "most_recent",
                    "column": "amount",
                    "order_by": "payment_date",
                },
                "last_payment_date": {
                    "type": "datetime",
                    "aggregation": "max",
                    "column": "payment_date",
                },
            },
        },
        "sources/renter_addresses": {
            "name": "Addresses of renters",
            "model": "renters",
            "app": "pagila",
            "table": "public.address",
            "key": ["address_id"],
            "mapping": {"address_id": "address_id"},
            "schedule": tracked,
            "properties": {
                "address": {"type": "string", "column": "address"},
                "district": {"type": "string", "column": "district"},
                "postal_code": {"type": "string", "column": "postal_code"},
            },
        },
    }


RECONCILED = (("renters",), ("rentals",), ("payments", "--full"), ("renter_addresses",))
"""Arguments of `headrace reconcile` for each source: payments have no change column."""

MOST_REMOVED = 60
"""Rows of one table that one series removes: fewer than the breaker of reconciliation allows (100)."""


@dataclass
class Changes:
    """Seeded random changes at the source, each one transaction.

    `removing` changes are those that only a reconciliation can find in a source with a cursor: deletes
    and new keys. At most `MOST_REMOVED` of them hit each table.
    """

    nowhere: ClassVar[int] = 999_999
    """The key of no address."""

    connection: Any
    dice: random.Random
    made: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)

    def one(self, *, removing: bool) -> None:
        """Make one change, of any kind when `removing`, else one that leaves every key in place."""
        kinds = _KEEPING + _REMOVING if removing else _KEEPING
        name = self.dice.choice(kinds).__name__
        with self.transaction():
            getattr(self, name)()
        self.made[name] = self.made.get(name, 0) + 1

    def transaction(self) -> AbstractContextManager[Any]:
        return self.connection.transaction()

    def run(self, statement: str, **values: Any) -> int:
        return int(self.connection.execute(statement, values).rowcount)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return list(self.connection.execute(statement).fetchall())

    def next_key(self, table: str, key: str) -> int:
        return int(self.rows(f"SELECT nextval('public.{table}_{key}_seq')")[0][0])

    def some(self, table: str, key: str) -> Any:
        """A random present key, by its place in the order so that a seed means the same every time."""
        ((count,),) = self.rows(f"SELECT count(*) FROM public.{table}")
        place = self.dice.randrange(count)
        ((found,),) = self.rows(f"SELECT {key} FROM public.{table} ORDER BY 1 LIMIT 1 OFFSET {place}")
        return found

    def _renter(self) -> int:
        """A renter, or now and then one that does not exist (yet)."""
        return (
            5000 + self.dice.randrange(50)
            if self.dice.random() < 0.1
            else self.some("customer", "customer_id")
        )

    def payment_date(self) -> str:
        """In a partition that the dump has."""
        dice = self.dice
        return (
            f"2022-0{dice.randint(2, 6)}-{dice.randint(1, 28):02} {dice.randrange(24):02}:"
            f"{dice.randrange(60):02}:{dice.randrange(60):02}.{dice.randrange(1_000_000):06}+00"
        )

    def _may_remove(self, table: str, rows: int) -> bool:
        if self.removed.get(table, 0) + rows > MOST_REMOVED:
            return False
        self.removed[table] = self.removed.get(table, 0) + rows
        return True

    # --- keys stay ---

    def rename_renter(self) -> None:
        self.run(
            "UPDATE public.customer SET last_name = %(name)s, email = %(email)s WHERE customer_id = %(id)s",
            id=self.some("customer", "customer_id"),
            name=self.dice.choice(["Ünal", "O'Neil", "", "李", "Smith\tJones", "NULL"]),
            email=self.dice.choice([None, f"renter{self.dice.randrange(10**6)}@example.org"]),
        )

    def move_renter_to_another_address(self) -> None:
        self.run(
            "UPDATE public.customer SET address_id = %(address)s WHERE customer_id = %(id)s",
            id=self.some("customer", "customer_id"),
            address=self.dice.choice([self.some("address", "address_id"), self.nowhere]),
        )

    def add_renter(self) -> None:
        stamp = self.dice.choice(["now()", "NULL"])
        self.run(
            "INSERT INTO public.customer"
            " (customer_id, store_id, first_name, last_name, address_id, last_update)"
            f" VALUES (%(id)s, 1, 'NEW', 'RENTER', %(address)s, {stamp}) ON CONFLICT DO NOTHING",
            id=5000 + self.dice.randrange(50),
            address=self.some("address", "address_id"),
        )

    def add_rental(self) -> None:
        self.run(
            "INSERT INTO public.rental (rental_date, inventory_id, customer_id, staff_id)"
            " VALUES (clock_timestamp(), %(inventory)s, %(renter)s, 1)",
            inventory=self.dice.randint(1, 4000),
            renter=self._renter(),
        )

    def move_rentals_to_another_renter(self) -> None:
        self.run(
            "UPDATE public.rental SET customer_id = %(renter)s WHERE rental_id = ANY(%(ids)s)",
            renter=self._renter(),
            ids=[self.some("rental", "rental_id") for _ in range(3)],
        )

    def redate_a_rental(self) -> None:
        self.run(
            "UPDATE public.rental SET rental_date = clock_timestamp() - %(days)s * interval '1 day'"
            " WHERE rental_id = %(id)s",
            id=self.some("rental", "rental_id"),
            days=self.dice.randrange(3000),
        )

    def rewrite_many_rentals(self) -> None:
        self.run(
            "UPDATE public.rental SET return_date = now() WHERE rental_id %% 16 = %(part)s",
            part=self.dice.randrange(16),
        )

    def add_payment(self) -> None:
        self.run(
            "INSERT INTO public.payment (customer_id, staff_id, rental_id, amount, payment_date)"
            " VALUES (%(renter)s, 1, 1, %(amount)s, %(date)s)",
            renter=self._renter(),
            amount=self.dice.randrange(-50, 2000) / 100,
            date=self.payment_date(),
        )

    def change_a_payment(self) -> None:
        self.run(
            "UPDATE public.payment SET amount = %(amount)s, customer_id = %(renter)s"
            " WHERE payment_id = %(id)s",
            id=self.some("payment", "payment_id"),
            amount=self.dice.randrange(2000) / 100,
            renter=self._renter(),
        )

    def rename_an_address(self) -> None:
        self.run(
            "UPDATE public.address SET address = %(text)s, postal_code = %(code)s WHERE address_id = %(id)s",
            id=self.some("address", "address_id"),
            text=f"{self.dice.randrange(1000)} Rue de l'Église",
            code=self.dice.choice([None, "", "0123"]),
        )

    def add_an_address_and_move_there(self) -> None:
        self.run(
            "WITH a AS (INSERT INTO public.address (address, district, city_id, phone)"
            " VALUES ('1 New Street', 'New', 1, '0') RETURNING address_id)"
            " UPDATE public.customer SET address_id = a.address_id FROM a WHERE customer_id = %(id)s",
            id=self.some("customer", "customer_id"),
        )

    # --- keys go ---

    def delete_a_renter(self) -> None:
        if self._may_remove("customer", 1):
            key = self.some("customer", "customer_id")
            self.run("DELETE FROM public.customer WHERE customer_id = %(id)s", id=key)

    def delete_rentals(self) -> None:
        if self._may_remove("rental", 3):
            ids = [self.some("rental", "rental_id") for _ in range(3)]
            self.run("DELETE FROM public.rental WHERE rental_id = ANY(%(ids)s)", ids=ids)

    def delete_payments(self) -> None:
        if self._may_remove("payment", 3):
            ids = [self.some("payment", "payment_id") for _ in range(3)]
            self.run("DELETE FROM public.payment WHERE payment_id = ANY(%(ids)s)", ids=ids)

    def delete_an_address(self) -> None:
        if self._may_remove("address", 1):
            key = self.some("address", "address_id")
            self.run("DELETE FROM public.address WHERE address_id = %(id)s", id=key)

    def give_a_rental_a_new_key(self) -> None:
        if self._may_remove("rental", 1):
            self.run(
                "UPDATE public.rental SET rental_id = %(new)s WHERE rental_id = %(id)s",
                new=self.next_key("rental", "rental_id"),
                id=self.some("rental", "rental_id"),
            )

    def give_a_renter_a_new_key(self) -> None:
        if self._may_remove("customer", 1):
            self.run(
                "UPDATE public.customer SET customer_id = %(new)s WHERE customer_id = %(id)s",
                new=self.next_key("customer", "customer_id"),
                id=self.some("customer", "customer_id"),
            )

    def move_a_payment_in_time(self) -> None:
        if self._may_remove("payment", 1):
            self.run(
                "UPDATE public.payment SET payment_date = %(date)s WHERE payment_id = %(id)s",
                id=self.some("payment", "payment_id"),
                date=self.payment_date(),
            )


_Kind = Callable[[Changes], None]
_KEEPING: tuple[_Kind, ...] = (
    Changes.rename_renter,
    Changes.move_renter_to_another_address,
    Changes.add_renter,
    Changes.add_rental,
    Changes.move_rentals_to_another_renter,
    Changes.redate_a_rental,
    Changes.rewrite_many_rentals,
    Changes.add_payment,
    Changes.change_a_payment,
    Changes.rename_an_address,
    Changes.add_an_address_and_move_there,
)
_REMOVING: tuple[_Kind, ...] = (
    Changes.delete_a_renter,
    Changes.delete_rentals,
    Changes.delete_payments,
    Changes.delete_an_address,
    Changes.give_a_rental_a_new_key,
    Changes.give_a_renter_a_new_key,
    Changes.move_a_payment_in_time,
)
