"""Single changes to the shop, as random as their dice."""

from __future__ import annotations

import random
from typing import Any, Final

import psycopg

from tests.faults import shop

TENANTS: Final = tuple(shop.HOMES)
HOT_USERS: Final = 60
"""Users that are changed more often than the others."""
BULK: Final = {
    "users": "DELETE FROM users WHERE id %% 40 = %(rest)s",
    "purchases": "DELETE FROM purchases WHERE id %% 12 = %(rest)s",
    "accounts": "DELETE FROM accounts WHERE id %% 10 = %(rest)s",
}
"""Deletes of many rows at once, often more than a reconciliation removes without being confirmed."""


class Changes:
    """Changes over one connection in autocommit; each method makes one and tells what kind it was."""

    name = ""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], chance: random.Random) -> None:
        self._connection = connection
        self._chance = chance
        self._kinds = {
            self.add_user: 6,
            self.change_user: 12,
            self.give_user_a_new_key: 1,
            self.move_user_to_another_customer: 1,
            self.delete_user: 1,
            self.date_user_strangely: 2,
            self.add_purchase: 12,
            self.change_purchase: 8,
            self.move_purchase_to_another_buyer: 6,
            self.give_purchase_a_new_key: 2,
            self.move_purchase_to_another_customer: 1,
            self.delete_purchase: 2,
            self.date_purchase_strangely: 2,
            self.buy_before_being_a_user: 3,
            self.add_account: 1,
            self.change_account: 3,
            self.delete_account: 1,
        }

    # --- transactions ---------------------------------------------------------------------------

    def begin(self) -> None:
        self._run("BEGIN")
        self._run("SELECT now()")

    def commit(self) -> None:
        self._run("COMMIT")

    def roll_back(self) -> None:
        self._run("ROLLBACK" if self._connection.info.transaction_status else "SELECT 1")

    def prepare(self, gid: str) -> None:
        self._run(f"PREPARE TRANSACTION '{gid}'")

    def commit_prepared(self, gid: str) -> None:
        self._run(f"COMMIT PREPARED '{gid}'")

    # --- what may change ------------------------------------------------------------------------

    def one(self) -> str:
        """A random change, each kind as often as it is weighed."""
        (change,) = self._chance.choices(list(self._kinds), list(self._kinds.values()))
        change()
        return change.__name__.replace("_", " ")

    def some(self, table: str) -> None:
        """A few changes of this table alone."""
        kinds = {
            "users": (self.add_user, self.change_user, self.change_user, self.date_user_strangely),
            "purchases": (self.add_purchase, self.change_purchase, self.move_purchase_to_another_buyer),
        }[table]
        for _ in range(self._chance.randint(1, 5)):
            self._chance.choice(kinds)()

    def add_user(self) -> None:
        self._run(
            "INSERT INTO users (id, tenant, account_id, name, score)"
            " VALUES (nextval('user_ids'), %(tenant)s, %(account)s, %(text)s, %(number)s)",
        )

    def change_user(self) -> None:
        self._run(
            "UPDATE users SET name = %(text)s, score = %(number)s, account_id = %(account)s"
            " WHERE id = %(user)s"
        )

    def give_user_a_new_key(self) -> None:
        self._run("UPDATE users SET id = nextval('user_ids') WHERE id = %(user)s")

    def move_user_to_another_customer(self) -> None:
        self._run("UPDATE users SET tenant = %(tenant)s WHERE id = %(user)s")

    def delete_user(self) -> None:
        self._run("DELETE FROM users WHERE id = %(user)s")

    def date_user_strangely(self) -> None:
        self._run(
            "UPDATE users SET updated_at = " + self._strange_date() + ", name = %(text)s WHERE id = %(user)s"
        )

    def add_purchase(self) -> None:
        self._run(
            "INSERT INTO purchases (id, tenant, buyer_id, item, amount, bought_at)"
            " VALUES (nextval('purchase_ids'), %(tenant)s, %(user)s, %(item)s, %(number)s / 4.0, now())",
        )

    def many_purchases(self, number: int) -> None:
        """Rows that share one timestamp."""
        self._run(
            "INSERT INTO purchases (id, tenant, buyer_id, item, amount, bought_at)"
            " SELECT nextval('purchase_ids'), %(tenant)s, 1 + (%(user)s + i) %% 2500, %(item)s, i / 8.0,"
            "        now()"
            "   FROM generate_series(1, %(many)s) AS i",
            many=number,
        )

    def change_purchase(self) -> None:
        self._run(
            "UPDATE purchases SET amount = %(number)s / 8.0, item = %(item)s,"
            " bought_at = bought_at + interval '1 day' WHERE id = %(purchase)s"
        )

    def move_purchase_to_another_buyer(self) -> None:
        self._run("UPDATE purchases SET buyer_id = %(user)s WHERE id = %(purchase)s")

    def give_purchase_a_new_key(self) -> None:
        self._run("UPDATE purchases SET id = nextval('purchase_ids') WHERE id = %(purchase)s")

    def move_purchase_to_another_customer(self) -> None:
        self._run("UPDATE purchases SET tenant = %(tenant)s WHERE id = %(purchase)s")

    def delete_purchase(self) -> None:
        self._run("DELETE FROM purchases WHERE id = %(purchase)s")

    def date_purchase_strangely(self) -> None:
        self._run(
            "UPDATE purchases SET updated_at = "
            + self._strange_date()
            + ", item = %(item)s WHERE id = %(purchase)s"
        )

    def buy_before_being_a_user(self) -> None:
        """Secondary rows whose record comes later, or never."""
        self._run(
            "WITH id AS (SELECT nextval('user_ids') AS id), bought AS (INSERT INTO purchases"
            " (id, tenant, buyer_id, item, amount, bought_at) SELECT nextval('purchase_ids'), %(tenant)s, id,"
            " %(item)s, 1, now() FROM id) SELECT id FROM id"
        )
        self._run(
            "INSERT INTO users (id, tenant, name, score)"
            " SELECT buyer_id, tenant, %(text)s, 0 FROM purchases p"
            " WHERE buyer_id BETWEEN 1000000 AND (SELECT last_value FROM user_ids)"
            " AND NOT EXISTS (SELECT FROM users u WHERE u.id = p.buyer_id)"
            " ORDER BY id LIMIT 1 ON CONFLICT DO NOTHING"
        )

    def add_account(self) -> None:
        self._run(
            "INSERT INTO accounts (id, tenant, name, seats)"
            " VALUES (nextval('account_ids'), %(tenant)s, %(item)s, %(number)s)"
        )

    def change_account(self) -> None:
        self._run("UPDATE accounts SET name = %(item)s, seats = %(number)s WHERE id = %(account)s")

    def delete_account(self) -> None:
        self._run("DELETE FROM accounts WHERE id = %(account)s")

    def bulk_delete(self, table: str) -> int:
        """Many rows are gone at once; how many."""
        return self._run(BULK[table], rest=self._chance.randrange(10))

    # --- dice -----------------------------------------------------------------------------------

    def _strange_date(self) -> str:
        """No cursor, or one that is still to come: soon, or not within a lifetime. A promise of the
        database's clock holds for each, being at or after the transaction's start."""
        soon = f"now() + interval '{self._chance.randint(2, 30)} seconds'"
        return self._chance.choice(("NULL", "NULL", soon, soon, "timestamptz '2099-01-01'"))

    def _user(self) -> int:
        dice = self._chance
        if dice.random() < 0.3:
            return dice.randint(1, HOT_USERS)
        if dice.random() < 0.3:
            return 1_000_000 + dice.randint(0, 400)
        return dice.randint(1, shop.FIRST_USERS)

    def _purchase(self) -> int:
        dice = self._chance
        return (
            1_000_000 + dice.randint(0, 4000)
            if dice.random() < 0.5
            else dice.randint(1, shop.FIRST_PURCHASES)
        )

    def _run(self, statement: str, **values: Any) -> int:
        dice = self._chance
        drawn = {
            "tenant": dice.choice(TENANTS),
            "account": dice.randint(1, shop.FIRST_ACCOUNTS),
            "text": f"name {dice.getrandbits(32):x}",
            "item": f"item {dice.getrandbits(24):x}",
            "number": dice.randint(0, 1000),
            "user": self._user(),
            "purchase": self._purchase(),
        }
        used = {name: value for name, value in (drawn | values).items() if f"%({name})s" in statement}
        return self._connection.execute(statement.encode(), used or None).rowcount
