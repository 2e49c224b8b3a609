"""The shop that the campaign runs over: its tables, its definitions, and its records by plain SQL.

Rows say their own customer: `acme` lives in the data source `east`, `globex` in `west`.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

HOMES: Final = {"acme": "east", "globex": "west"}
"""The data source of each customer."""
SOURCES: Final = ("users", "purchases", "accounts")
KEYED: Final = ("users", "purchases")
"""Tables with a cursor."""
FIRST_USERS: Final = 2_000
FIRST_PURCHASES: Final = 6_000
FIRST_ACCOUNTS: Final = 200

SCHEMA: Final = """
CREATE TABLE users (id bigint PRIMARY KEY, tenant text NOT NULL, account_id bigint, name text,
                    score integer, updated_at timestamptz DEFAULT now());
CREATE TABLE purchases (id bigint PRIMARY KEY, tenant text NOT NULL, buyer_id bigint, item varchar(20),
                        amount numeric(12, 2), bought_at timestamptz, updated_at timestamptz DEFAULT now());
CREATE TABLE accounts (id bigint PRIMARY KEY, tenant text NOT NULL, name varchar(20), seats integer);
CREATE INDEX ON users (updated_at, id);
CREATE INDEX ON users (id) WHERE updated_at IS NULL;
CREATE INDEX ON purchases (updated_at, id);
CREATE INDEX ON purchases (id) WHERE updated_at IS NULL;
CREATE SEQUENCE user_ids START 1000000;
CREATE SEQUENCE purchase_ids START 1000000;
CREATE SEQUENCE account_ids START 1000000;

-- A change that says nothing of its cursor is dated by the clock, as the schedule promises.
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at THEN NEW.updated_at := now(); END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER touch BEFORE UPDATE ON purchases FOR EACH ROW EXECUTE FUNCTION touch();
"""

_TENANT: Final = "CASE WHEN id %% 3 = 0 THEN 'globex' ELSE 'acme' END"
FIRST_ROWS: Final = {
    "users": f"""
INSERT INTO users (id, tenant, account_id, name, score)
SELECT id, {_TENANT}, id %% {FIRST_ACCOUNTS}, 'user ' || id, id %% 100
  FROM generate_series(%(after)s + 1, %(upto)s) AS id""",
    "purchases": f"""
INSERT INTO purchases (id, tenant, buyer_id, item, amount, bought_at)
SELECT id, CASE WHEN (id %% {FIRST_USERS}) %% 3 = 0 THEN 'globex' ELSE 'acme' END, id %% {FIRST_USERS},
       'item ' || id %% 50, id %% 1000 / 8.0, timestamptz '2024-01-01' + id * interval '1 minute'
  FROM generate_series(%(after)s + 1, %(upto)s) AS id""",
    "accounts": f"""
INSERT INTO accounts (id, tenant, name, seats)
SELECT id, {_TENANT}, 'account ' || id, id %% 9 FROM generate_series(%(after)s + 1, %(upto)s) AS id""",
}
FIRST: Final = {"users": FIRST_USERS, "purchases": FIRST_PURCHASES, "accounts": FIRST_ACCOUNTS}

PROPERTIES: Final = (
    "id", "account_id", "name", "score", "purchase_count", "total_spent", "last_bought_at", "last_item",
    "items", "account_name", "seats",
)  # fmt: skip

ORACLE: Final = """
SELECT u.tenant, u.id, u.account_id, u.name, u.score, coalesce(p.purchase_count, 0),
       coalesce(p.total_spent, 0), p.last_bought_at, p.last_item, coalesce(p.items, '[]'), a.name, a.seats
  FROM users u
  LEFT JOIN (SELECT tenant, buyer_id, count(id) AS purchase_count, sum(amount) AS total_spent,
                    max(bought_at) AS last_bought_at,
                    (array_agg(item ORDER BY bought_at DESC, id DESC)
                       FILTER (WHERE bought_at IS NOT NULL))[1] AS last_item,
                    jsonb_agg(item ORDER BY id) AS items
               FROM purchases GROUP BY tenant, buyer_id) p
         ON p.tenant = u.tenant AND p.buyer_id = u.id
  LEFT JOIN accounts a ON a.tenant = u.tenant AND a.id = u.account_id
"""
"""Customer, then the values of PROPERTIES."""


def create(url: str) -> None:
    """The tables exist, empty."""
    with psycopg.connect(url) as connection:
        connection.execute(SCHEMA)


def fill(url: str, table: str, *, after: int = 0, upto: int | None = None) -> None:
    """The table has its first rows, those with keys in (after, upto]."""
    with psycopg.connect(url) as connection:
        rows = {"after": after, "upto": FIRST[table] if upto is None else upto}
        connection.execute(FIRST_ROWS[table].encode(), rows)
        connection.execute(f"ANALYZE {table}".encode())


def definitions(*, page_rows: int) -> dict[str, Any]:
    """Users with purchases and, through `account_id`, accounts; URLs come from the environment."""
    return {
        "apps/shop": {"name": "Shop", "type": "postgres", "url": "${SHOP_URL}"},
        "schemas/shop": {"name": "Shop"},
        "visibility_groups/production": {"name": "Production"},
        "data_sources/east": _data_source("east") | {"default_for": ["production"]},
        "data_sources/west": _data_source("west"),
        **{
            f"customers/{name}": {"name": name.title(), "provided_id": name, "data_sources": {"shop": home}}
            for name, home in HOMES.items()
        },
        "models/users": {"name": "Users", "schema": "shop"},
        "sources/users": _source("users", page_rows, reconcile_every="25s")
        | {
            "primary": True,
            "properties": {
                "id": {"type": "integer", "column": "id"},
                "account_id": {"type": "integer", "column": "account_id"},
                "name": {"type": "string", "column": "name"},
                "score": {"type": "integer", "column": "score"},
            },
        },
        "sources/purchases": _source("purchases", page_rows, reconcile_every="40s")
        | {
            "mapping": {"buyer_id": "id"},
            "properties": {
                "purchase_count": {"type": "integer", "aggregation": "count", "column": "id"},
                "total_spent": {"type": "decimal", "aggregation": "sum", "column": "amount"},
                "last_bought_at": {"type": "datetime", "aggregation": "max", "column": "bought_at"},
                "last_item": {
                    "type": "string",
                    "aggregation": "most_recent",
                    "column": "item",
                    "order_by": "bought_at",
                },
                "items": {"type": "json", "aggregation": "list", "column": "item"},
            },
        },
        "sources/accounts": _source("accounts", page_rows, every="3s", cursor=None)
        | {
            "mapping": {"id": "account_id"},
            "properties": {
                "account_name": {"type": "string", "column": "name"},
                "seats": {"type": "integer", "column": "seats"},
            },
        },
    }


def _data_source(name: str) -> dict[str, Any]:
    return {
        "nickname": name.title(),
        "schema": "shop",
        "visibility_groups": ["production"],
        "type": "postgres",
        "url": f"${{{name.upper()}_URL}}",
    }


def _source(
    table: str,
    page_rows: int,
    *,
    every: str = "1s",
    cursor: str | None = "updated_at",
    reconcile_every: str | None = None,
) -> dict[str, Any]:
    schedule: dict[str, Any] = {"every": every, "page_rows": page_rows}
    if cursor is not None:
        schedule |= {"cursor": cursor, "clock": "database", "reconcile_every": reconcile_every}
    return {
        "name": table.title(),
        "model": "users",
        "app": "shop",
        "table": f"public.{table}",
        "key": ["id"],
        "customer": {"column": "tenant"},
        "schedule": schedule,
    }
