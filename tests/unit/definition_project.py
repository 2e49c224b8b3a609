"""A right config directory for tests of definitions, and ways to make it wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ENVIRON = {
    "SHOP_URL": "postgresql://reader:hunter2@shop.example/shop",
    "CRM_URL": "sqlite:///crm.db",
    "STORE_URL": "postgresql://writer:hunter2@store.example/store",
    "OTHER_URL": "postgresql://writer:hunter2@other.example/other",
}

FILES: dict[str, Any] = {
    "apps/shop_db": {"name": "Shop DB", "type": "postgres", "url": "${SHOP_URL}", "customer": "acme"},
    "apps/crm_db": {"name": "CRM", "type": "sqlite", "url": "${CRM_URL}", "customer": "globex"},
    "schemas/shop": {"name": "Shop"},
    "visibility_groups/production": {"name": "Production"},
    "data_sources/main": {
        "nickname": "Main",
        "provided_id": "main-1",
        "schema": "shop",
        "default_for": ["production"],
        "type": "postgres",
        "url": "${STORE_URL}",
    },
    "customers/acme": {"name": "Acme", "data_sources": {"shop": "main"}},
    "customers/globex": {"name": "Globex", "parent": "acme"},
    "models/users": {"name": "Users", "schema": "shop"},
    "sources/users": {
        "name": "Users",
        "model": "users",
        "primary": True,
        "app": "shop_db",
        "table": "public.users",
        "key": ["id"],
        "schedule": {"every": "1m", "cursor": "updated_at", "clock": "database"},
        "properties": {
            "user_id": {"type": "integer", "column": "id"},
            "email": {"type": "email", "column": "email"},
            "account_id": {"type": "integer", "column": "account_id"},
        },
    },
    "sources/purchases": {
        "name": "Purchases",
        "model": "users",
        "app": "shop_db",
        "table": "public.purchases",
        "key": ["id"],
        "mapping": {"buyer_id": "user_id"},
        "schedule": {"every": "30s", "cursor": "updated_at", "clock": {"skew": "5s"}},
        "properties": {
            "purchase_count": {"type": "integer", "aggregation": "count", "column": "id"},
            "total_spent": {"type": "decimal", "aggregation": "sum", "column": "amount"},
            "last_item": {
                "type": "string",
                "aggregation": "most_recent",
                "column": "item",
                "order_by": "bought_at",
                "filters": [{"column": "state", "op": "eq", "value": "paid"}],
            },
        },
    },
    "sources/accounts": {
        "name": "Accounts",
        "model": "users",
        "app": "shop_db",
        "query": "SELECT id, name FROM accounts",
        "key": ["id"],
        "mapping": {"id": "account_id"},
        "properties": {"account": {"type": "string", "column": "name"}},
    },
}

REMOVED = object()
Changes = Mapping[str, Any]
"""By `<kind>/<id>`: raw text, a whole body, or REMOVED; by `<kind>/<id>:<key>.<key>`: the value of a key, or
REMOVED."""


def changed(changes: Changes) -> dict[str, Any]:
    """The files of the right project with changes."""
    files = copy.deepcopy(FILES)
    for place, value in changes.items():
        file, _, path = place.partition(":")
        owner: Any = files
        *parents, last = [file, *(path.split(".") if path else [])]
        for part in parents:
            owner = owner[part]
        if value is REMOVED:
            del owner[last]
        else:
            owner[last] = value
    return files


def written(root: Path, files: Mapping[str, Any]) -> Path:
    """`config` below `root`, holding the files."""
    config = root / "config"
    for place, body in files.items():
        file = config / (place if "." in place else f"{place}.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(body if isinstance(body, str) else json.dumps(body), encoding="utf-8")
    return config
