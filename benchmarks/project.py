"""A project directory of Headrace as its user has it, and its command."""

from __future__ import annotations

import compileall
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import headrace as headrace_package
import producers
import workers
from benchmarks.users import COLUMNS

TYPES = dict.fromkeys(COLUMNS, "string") | {
    "id": "integer",
    "email": "email",
    "ltv": "decimal",
    "is_active": "boolean",
    "created_at": "datetime",
    "updated_at": "datetime",
}


def compile_modules() -> None:
    """As an installation has them: where PYTHONDONTWRITEBYTECODE is set, an editable one compiles all of its
    modules at each start."""
    for package in (headrace_package, producers, workers):
        compileall.compile_dir(str(Path(package.__file__ or "").parent), quiet=1)


def headrace() -> str:
    """The command that belongs to this Python."""
    beside = Path(sys.executable).with_name("headrace")
    found = str(beside) if beside.exists() else shutil.which("headrace")
    if found is None:
        raise FileNotFoundError("the headrace command is not installed: run make setup")
    return found


def define(
    project: Path,
    *,
    source: str = "postgres",
    store: str = "postgres",
    table: str = "public.users",
    every: str | None = "1m",
) -> None:
    """The users: one primary source with every column as a property, from SHOP_URL into STORE_URL.

    Args:
        source: the type of the app; `store`: that of the data source.
        every: None: only when it is asked for.
    """
    schedule = {"cursor": "updated_at", "clock": "database"} | ({"every": every} if every else {})
    write(
        project,
        {
            "apps/shop": {"name": "Shop", "type": source, "url": "${SHOP_URL}"},
            "schemas/shop": {"name": "Shop"},
            "visibility_groups/production": {"name": "Production"},
            "data_sources/main": {
                "nickname": "Main",
                "provided_id": "main",
                "schema": "shop",
                "visibility_groups": ["production"],
                "default_for": ["production"],
                "type": store,
                "url": "${STORE_URL}",
            },
            "models/users": {"name": "Users", "schema": "shop"},
            "sources/users": {
                "name": "Users",
                "model": "users",
                "primary": True,
                "app": "shop",
                "table": table,
                "key": ["id"],
                "schedule": schedule,
                "properties": {name: {"type": kind, "column": name} for name, kind in TYPES.items()},
            },
        },
    )


def write(project: Path, definitions: Mapping[str, Mapping[str, Any]]) -> None:
    """Files of `config/`, by `<kind>/<id>`."""
    for place, definition in definitions.items():
        file = project / "config" / f"{place}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(definition, indent=1))
