"""The example's two source databases: a product with users and accounts, a shop with purchases and refunds.

The same rows every time. Triggers set `updated_at` at every change, so that whoever plays with them
need not think of it.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

TENANTS: Final = ("acme", "globex", "initech")
ACCOUNTS: Final = 30
USERS: Final = 300
PURCHASES: Final = 4_000
REFUNDS: Final = 200

_SEED: Final = 1883
"""Any number would do; this one makes Ada buy tea."""
_BEGINNING: Final = datetime(2024, 1, 8, 9, 0, tzinfo=UTC)
_HISTORY: Final = timedelta(days=420)
_NOW: Final = "strftime('%Y-%m-%d %H:%M:%f', 'now')"

_FIRST: Final = (
    "Grace", "Alan", "Edsger", "Barbara", "Donald", "Margaret", "Dennis", "Frances", "Ken", "Radia",
    "Tony", "Adele", "Niklaus", "Jean", "Leslie", "Hedy", "Edgar", "Mary", "John", "Karen", "Claude",
    "Evelyn", "Tim", "Lynn",
)  # fmt: skip
_LAST: Final = (
    "Hopper", "Turing", "Dijkstra", "Liskov", "Knuth", "Hamilton", "Ritchie", "Allen", "Thompson",
    "Perlman", "Hoare", "Goldberg", "Naur", "Bartik", "Lamport", "Lamarr", "Codd", "Shaw", "Backus",
    "Jones", "Shannon", "Boyd", "Lee", "Conway",
)  # fmt: skip
_COMPANIES: Final = (
    "Rockets", "Anvils", "Laboratories", "Logistics", "Foods", "Robotics", "Energy", "Textiles",
    "Optics", "Shipping",
)  # fmt: skip
_ITEMS: Final = (
    ("Oolong tea", "12.80"), ("Sencha tea", "9.50"), ("Teapot", "34.00"), ("Kettle", "79.90"),
    ("Tea tray", "27.50"), ("Matcha whisk", "18.25"), ("Two cups", "16.00"), ("Tea tin", "7.75"),
)  # fmt: skip
_REASONS: Final = ("arrived broken", "wrong colour", "changed my mind")

_APP: Final = """
CREATE TABLE accounts (
  id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, plan TEXT NOT NULL,
  updated_at DATETIME NOT NULL DEFAULT ({now}));
CREATE TABLE users (
  id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, account_id INTEGER REFERENCES accounts (id),
  email TEXT NOT NULL, name TEXT NOT NULL, signed_up_on DATE NOT NULL,
  updated_at DATETIME NOT NULL DEFAULT ({now}));
"""
_SHOP: Final = """
CREATE TABLE purchases (
  id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, buyer_id INTEGER NOT NULL, item TEXT NOT NULL,
  amount TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'paid', bought_at DATETIME NOT NULL DEFAULT ({now}),
  updated_at DATETIME NOT NULL DEFAULT ({now}));
CREATE TABLE refunds (
  id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, user_id INTEGER NOT NULL, amount TEXT NOT NULL,
  reason TEXT NOT NULL, updated_at DATETIME NOT NULL DEFAULT ({now}));
"""
_TOUCH: Final = """
CREATE INDEX {table}_updated_at ON {table} (updated_at, id);
CREATE TRIGGER {table}_touched AFTER UPDATE ON {table} WHEN NEW.updated_at IS OLD.updated_at
BEGIN UPDATE {table} SET updated_at = {now} WHERE id = NEW.id; END;
"""

Row = tuple[Any, ...]


def make_databases(directory: Path) -> None:
    """`app.db` and `shop.db` are in the directory, which is made."""
    directory.mkdir(parents=True, exist_ok=True)
    dice = random.Random(_SEED)  # noqa: S311 (rows of an example)
    accounts, users = _accounts(dice), _users(dice)
    purchases = _purchases(dice, users)
    _write(directory / "app.db", _APP, accounts=accounts, users=users)
    _write(directory / "shop.db", _SHOP, purchases=purchases, refunds=_refunds(dice, purchases))


def _write(path: Path, tables: str, **rows: list[Row]) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(tables.format(now=_NOW))
        for table, values in rows.items():
            marks = ", ".join("?" for _ in values[0])
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", values)
            database.executescript(_TOUCH.format(table=table, now=_NOW))


def _accounts(dice: random.Random) -> list[Row]:
    rows = []
    for id_ in range(1, ACCOUNTS + 1):
        tenant = TENANTS[id_ % 3]
        name = f"{tenant.capitalize()} {_COMPANIES[(id_ - 1) // 3]}"
        rows.append((id_, tenant, name, dice.choice(("free", "team", "business")), _text(_moment(dice))))
    return rows


def _users(dice: random.Random) -> list[Row]:
    rows = []
    for id_ in range(1, USERS + 1):
        account = 1 + (id_ - 1) % ACCOUNTS
        tenant = TENANTS[account % 3]
        name = "Ada Lovelace" if id_ == 12 else f"{dice.choice(_FIRST)} {dice.choice(_LAST)}"
        email = f"{name.split()[0].lower()}@{tenant}.example"
        signed_up = _moment(dice)
        rows.append((id_, tenant, account, email, name, f"{signed_up:%Y-%m-%d}", _text(signed_up)))
    return rows


def _purchases(dice: random.Random, users: list[Row]) -> list[Row]:
    rows = []
    moments = sorted(_moment(dice) for _ in range(PURCHASES))
    for id_, moment in enumerate(moments, start=1):
        user = dice.choice(users)
        item, price = dice.choice(_ITEMS)
        state = dice.choices(("paid", "cancelled"), weights=(9, 1))[0]
        rows.append((id_, user[1], user[0], item, price, state, _text(moment), _text(moment)))
    return rows


def _refunds(dice: random.Random, purchases: list[Row]) -> list[Row]:
    returned = sorted(dice.sample(purchases, REFUNDS))
    return [
        (id_, tenant, buyer, amount, dice.choice(_REASONS), bought)
        for id_, (_, tenant, buyer, _item, amount, _state, bought, _updated) in enumerate(returned, start=1)
    ]


def _moment(dice: random.Random) -> datetime:
    return _BEGINNING + _HISTORY * dice.random()


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"
