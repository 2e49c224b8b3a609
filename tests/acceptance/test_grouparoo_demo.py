"""Grouparoo's demo rows: two models that feed each other's properties, with filters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.conftest import NewDatabase, shared
from tests.acceptance.project import Project, execute
from tests.acceptance.records import (
    Records,
    SqliteStore,
    Store,
    assert_equal_records,
    oracle,
    property_types,
)

pytestmark = pytest.mark.services

FILES = Path(__file__).parents[3] / "shared" / "data" / "grouparoo-demo"
KEYS = {"users": {"user_id": "integer"}, "accounts": {"id": "integer"}}

ORACLES = {
    "users": """
SELECT u.id, u.email, u.first_name, u.account_id, u.deactivated, u.created_at,
       coalesce(p.ltv, 0), coalesce(p.purchase_count, 0), p.last_purchase_category, p.last_purchase_date,
       a.name
  FROM demo.users u
  LEFT JOIN (SELECT user_id, sum(price) AS ltv, count(id) AS purchase_count,
                    (array_agg(category ORDER BY created_at DESC, id DESC))[1] AS last_purchase_category,
                    max(created_at) AS last_purchase_date
               FROM demo.purchases WHERE state = 'successful' GROUP BY user_id) p ON p.user_id = u.id
  LEFT JOIN demo.accounts a ON a.id = u.account_id
""",
    "accounts": """
SELECT a.id, a.name, a.domain, coalesce(p.account_value, 0), u.contact_email
  FROM demo.accounts a
  LEFT JOIN (SELECT account_id, sum(amount) AS account_value FROM demo.payments
              WHERE state = 'successful' GROUP BY account_id) p ON p.account_id = a.id
  LEFT JOIN (SELECT account_id, (array_agg(email ORDER BY created_at, id))[1] AS contact_email
               FROM demo.users GROUP BY account_id) u ON u.account_id = a.id
""",
}

README_USERS = {
    69: ("fbeavers1w@demo.com", "Toughjoyfax", 3, "109.31", "2021-09-08T06:42:01.049Z", "Grocery"),
    155: ("methelstone4a@demo.com", "Y-find", 2, "141.30", "2021-09-18T19:40:22.842Z", "Jewelery"),
    560: ("cgaymarfj@demo.com", "Voyatouch", 1, "19.7", "2021-10-06T11:14:29.225Z", "Books"),
}
README_ACCOUNTS = {1: ("Aerified", "1325.98"), 2: ("Alpha", "1229.04"), 24: ("Mat Lam Tam", "1496.43")}

SUCCESSFUL = [{"column": "state", "op": "eq", "value": "successful"}]


def definitions(store: Store) -> dict[str, Any]:
    def tracked(cursor: str) -> dict[str, Any]:
        return {"every": "1m", "cursor": cursor, "clock": "database"}

    return {
        "apps/demo_db": {
            "name": "Demo DB",
            "type": "postgres",
            "url": "${DEMO_URL}",
            "customer": "acme",
            "visibility_group": "production",
        },
        "schemas/shop": {"name": "Shop"},
        "visibility_groups/production": {"name": "Production"},
        "data_sources/main": {
            "nickname": "Main",
            "provided_id": "main-1",
            "schema": "shop",
            "visibility_groups": ["production"],
        }
        | store.definition(),
        "customers/acme": {
            "name": "Acme",
            "provided_id": "acme",
            "visibility_group": "production",
            "data_sources": {"shop": "main"},
        },
        "models/users": {"name": "Users", "schema": "shop"},
        "models/accounts": {"name": "Accounts", "schema": "shop"},
        "sources/users": {
            "name": "Users",
            "model": "users",
            "primary": True,
            "app": "demo_db",
            "table": "demo.users",
            "key": ["id"],
            "schedule": tracked("updated_at"),
            "properties": {
                "user_id": {"type": "integer", "column": "id"},
                "email": {"type": "email", "column": "email"},
                "first_name": {"type": "string", "column": "first_name"},
                "account_id": {"type": "integer", "column": "account_id"},
                "deactivated": {"type": "boolean", "column": "deactivated"},
                "joined_at": {"type": "datetime", "column": "created_at"},
            },
        },
        "sources/purchases": {
            "name": "Purchases",
            "model": "users",
            "app": "demo_db",
            "table": "demo.purchases",
            "key": ["id"],
            "mapping": {"user_id": "user_id"},
            "schedule": tracked("created_at"),
            "properties": {
                "ltv": {
                    "type": "decimal",
                    "aggregation": "sum",
                    "column": "price",
                    "filters": SUCCESSFUL,
                },
                "purchase_count": {
                    "type": "integer",
                    "aggregation": "count",
                    "column": "id",
                    "filters": SUCCESSFUL,
                },
                "last_purchase_category": {
                    "type": "string",
                    "aggregation": "most_recent",
                    "column": "category",
                    "order_by": "created_at",
                    "filters": SUCCESSFUL,
                },
                "last_purchase_date": {
                    "type": "datetime",
                    "aggregation": "most_recent",
                    "column": "created_at",
                    "order_by": "created_at",
                    "filters": SUCCESSFUL,
                },
            },
        },
        "sources/accounts_of_users": {
            "name": "Accounts of users",
            "model": "users",
            "app": "demo_db",
            "table": "demo.accounts",
            "key": ["id"],
            "mapping": {"id": "account_id"},
            "schedule": tracked("updated_at"),
            "properties": {"account": {"type": "string", "column": "name"}},
        },
        "sources/accounts": {
            "name": "Accounts",
            "model": "accounts",
            "primary": True,
            "app": "demo_db",
            "table": "demo.accounts",
            "key": ["id"],
            "schedule": tracked("updated_at"),
            "properties": {
                "name": {"type": "string", "column": "name"},
                "domain": {"type": "string", "column": "domain"},
            },
        },
        "sources/payments": {
            "name": "Payments",
            "model": "accounts",
            "app": "demo_db",
            "table": "demo.payments",
            "key": ["id"],
            "mapping": {"account_id": "id"},
            "schedule": tracked("created_at"),
            "properties": {
                "account_value": {
                    "type": "decimal",
                    "aggregation": "sum",
                    "column": "amount",
                    "filters": SUCCESSFUL,
                }
            },
        },
        "sources/users_of_accounts": {
            "name": "Users of accounts",
            "model": "accounts",
            "app": "demo_db",
            "table": "demo.users",
            "key": ["id"],
            "mapping": {"account_id": "id"},
            "schedule": tracked("updated_at"),
            "properties": {
                "contact_email": {
                    "type": "email",
                    "aggregation": "least_recent",
                    "column": "email",
                    "order_by": "created_at",
                }
            },
        },
    }


@pytest.fixture
def demo_database(new_database: NewDatabase) -> Iterator[str]:
    """Grouparoo's rows, loaded as their README says (quotes in them are escaped by a backslash)."""
    shared(FILES)
    with new_database() as url:
        execute(url, "CREATE SCHEMA demo")
        options = "-c standard_conforming_strings=off -c backslash_quote=on -c escape_string_warning=off"
        with psycopg.connect(url, options=options) as connection:
            connection.execute((FILES / "redshift.sql").read_text())
        yield url


def expected(url: str, store: Store, model: str) -> Records:
    types = property_types(definitions(store), model, KEYS[model])
    return oracle(url, ORACLES[model], types, KEYS[model], customer="acme")


def actual(store: Store, model: str) -> Records:
    return store.records(model, property_types(definitions(store), model, KEYS[model]), KEYS[model])


def assert_readme(users: Records, accounts: Records) -> None:
    assert len(users) == 1000
    assert len(accounts) == 50
    assert sum(record["purchase_count"] == 0 for record in users.values()) >= 503
    for key, (email, account, count, ltv, date, category) in README_USERS.items():
        record = users["acme", key]
        assert (record["email"], record["account"], record["purchase_count"]) == (email, account, count)
        assert record["ltv"] == Decimal(ltv)
        assert record["last_purchase_date"] == datetime.fromisoformat(date).astimezone(UTC)
        assert record["last_purchase_category"] == category
    for key, (name, value) in README_ACCOUNTS.items():
        record = accounts["acme", key]
        assert (record["name"], record["account_value"]) == (name, Decimal(value))


def test_the_oracle_gives_the_numbers_of_the_readme(demo_database: str, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "unused.db")
    assert_readme(expected(demo_database, store, "users"), expected(demo_database, store, "accounts"))


def test_the_demo_rows_give_grouparoos_properties(demo_database: str, store: Store, tmp_path: Path) -> None:
    environment = {"DEMO_URL": demo_database, "STORE_URL": store.url}
    project = Project.create(tmp_path / "project", definitions(store), environment, warm=True)
    project.headrace("sync", "--strict")
    for model in ORACLES:
        assert_equal_records(expected(demo_database, store, model), actual(store, model))
    assert_readme(actual(store, "users"), actual(store, "accounts"))

    batches, contents = project.journalled_batches(), store.contents()
    project.headrace("sync")
    assert (project.journalled_batches(), store.contents()) == (batches, contents)

    execute(
        demo_database,
        "UPDATE demo.users SET account_id = 2, email = 'moved@demo.com', created_at = '2000-01-01',"
        " updated_at = now() WHERE id IN (69, 70)",
        "UPDATE demo.accounts SET name = 'Renamed', updated_at = now() WHERE id IN (2, 3)",
        "INSERT INTO demo.purchases SELECT 5000 + id, id, 'Gift', 'Toys', 1.25,"
        " CASE WHEN id % 2 = 0 THEN 'successful' ELSE 'failed' END, now() FROM demo.users WHERE id < 100",
        "INSERT INTO demo.payments VALUES (5000, 2, 0.01, 'successful', now())",
        "DELETE FROM demo.purchases WHERE id % 50 = 7",
        "DELETE FROM demo.users WHERE id = 560",
    )
    project.headrace("sync", "--reconcile")
    for model in ORACLES:
        assert_equal_records(expected(demo_database, store, model), actual(store, model))
