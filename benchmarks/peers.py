"""Those that are measured: each turns an empty database into one with the source's users merged by key."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.database import database, run, settle
from benchmarks.measured import Measured, run_measured
from benchmarks.users import COLUMNS, TABLE, checksum


class Peer(Protocol):
    """One way to do a work."""

    @property
    def name(self) -> str: ...

    def first_load(self, source_url: str, directory: Path) -> tuple[Measured, tuple[int, int]]:
        """W1: all rows into an empty table with its key. What it took, and the target's checksum."""
        ...


@dataclass(frozen=True, slots=True)
class Reference:
    """psql alone: binary COPY out, a temporary table, INSERT .. ON CONFLICT. The physical limit of a
    merge by key that does nothing else."""

    name: str = "reference"

    def first_load(self, source_url: str, directory: Path) -> tuple[Measured, tuple[int, int]]:
        with database("reference") as target_url:
            run(target_url, TABLE)
            settle(target_url)
            measured = run_measured(
                ["sh", "-c", _pipeline()],
                directory=directory,
                environment={"SOURCE_URL": source_url, "TARGET_URL": target_url},
                log=directory / "reference.log",
            )
            return measured, checksum(target_url, "users")


def _pipeline() -> str:
    columns = ", ".join(COLUMNS)
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in COLUMNS if name != "id")
    read = f"COPY (SELECT {columns} FROM users WHERE updated_at > '-infinity') TO STDOUT (FORMAT binary)"
    merge = f"INSERT INTO users SELECT * FROM stage ON CONFLICT (id) DO UPDATE SET {changes}"
    return (
        f'psql -X -q -d "$SOURCE_URL" -v ON_ERROR_STOP=1 -c "{read}"'
        ' | psql -X -q -d "$TARGET_URL" -v ON_ERROR_STOP=1 -c "CREATE TEMP TABLE stage (LIKE users)"'
        f' -c "COPY stage FROM STDIN (FORMAT binary)" -c "{merge}"'
    )


@dataclass(frozen=True, slots=True)
class Headrace:
    """`headrace sync` with a store in PostgreSQL; the control database is SQLite in a file or PostgreSQL."""

    control: str = "sqlite"

    @property
    def name(self) -> str:
        return f"headrace ({self.control} control)"

    def first_load(self, source_url: str, directory: Path) -> tuple[Measured, tuple[int, int]]:
        with ExitStack() as stack:
            store_url = stack.enter_context(database("store"))
            project = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
            control_url = (
                f"sqlite:///{project / 'control.db'}"
                if self.control == "sqlite"
                else stack.enter_context(database("control"))
            )
            define(project)
            settle(store_url)
            measured = run_measured(
                [headrace(), "sync"],
                directory=project,
                environment={
                    "SHOP_URL": source_url,
                    "STORE_URL": store_url,
                    "HEADRACE_CONTROL_URL": control_url,
                },
                log=directory / "headrace.log",
            )
            return measured, checksum(store_url, "headrace.users")


def headrace() -> str:
    """The command that belongs to this Python."""
    beside = Path(sys.executable).with_name("headrace")
    found = str(beside) if beside.exists() else shutil.which("headrace")
    if found is None:
        raise FileNotFoundError("the headrace command is not installed: run make setup")
    return found


def define(project: Path) -> None:
    """The project directory of the users: one primary source with every column as a property."""
    types = dict.fromkeys(COLUMNS, "string") | {
        "id": "integer",
        "email": "email",
        "ltv": "decimal",
        "is_active": "boolean",
        "created_at": "datetime",
        "updated_at": "datetime",
    }
    definitions = {
        "apps/shop": {"name": "Shop", "type": "postgres", "url": "${SHOP_URL}"},
        "schemas/shop": {"name": "Shop"},
        "visibility_groups/production": {"name": "Production"},
        "data_sources/main": {
            "nickname": "Main",
            "provided_id": "main",
            "schema": "shop",
            "visibility_groups": ["production"],
            "default_for": ["production"],
            "type": "postgres",
            "url": "${STORE_URL}",
        },
        "models/users": {"name": "Users", "schema": "shop"},
        "sources/users": {
            "name": "Users",
            "model": "users",
            "primary": True,
            "app": "shop",
            "table": "public.users",
            "key": ["id"],
            "schedule": {"every": "1m", "cursor": "updated_at", "clock": "database"},
            "properties": {name: {"type": kind, "column": name} for name, kind in types.items()},
        },
    }
    for place, definition in definitions.items():
        file = project / "config" / f"{place}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(definition, indent=1))
