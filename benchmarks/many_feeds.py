"""A project with as many feeds as asked for: each reads a table of its own that does not change."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.database import rows, run

ROWS = 20


def make_tables(url: str, feeds: int) -> None:
    """One table a feed, with an index on (updated_at, id), its rows an hour old."""
    for begin in range(0, feeds, 500):
        run(url, ";".join(_table(n) for n in range(begin, min(begin + 500, feeds))))


def _table(number: int) -> str:
    return (
        f"CREATE TABLE t{number} (id bigint PRIMARY KEY, name text, updated_at timestamptz);"
        f"INSERT INTO t{number} SELECT i, 'name ' || i, now() - interval '1 hour'"
        f" FROM generate_series(1, {ROWS}) AS i;"
        f"CREATE INDEX ON t{number} (updated_at, id)"
    )


def define(
    project: Path,
    feeds: int,
    *,
    every: str,
    tables: int | None = None,
    store: Mapping[str, Any] | None = None,
) -> None:
    """One primary source and one model a feed.

    Args:
        tables: how many there are, each read by several feeds when they are fewer; None: one a feed.
        store: type and URL of the data source; a file of SQLite unless given, for idle feeds write none.
    """
    write(project, "apps/shop", name="Shop", type="postgres", url="${SHOP_URL}")
    write(project, "schemas/shop", name="Shop")
    write(project, "visibility_groups/production", name="Production")
    write(
        project, "data_sources/main", nickname="Main", provided_id="main", schema="shop",
        visibility_groups=["production"], default_for=["production"],
        **(store or {"type": "sqlite", "url": "sqlite:///store.db"}),
    )  # fmt: skip
    for number in range(feeds):
        write(project, f"models/t{number}", name=f"T{number}", schema="shop")
        write(
            project, f"sources/t{number}", name=f"T{number}", model=f"t{number}", primary=True, app="shop",
            table=f"public.t{number % (tables or feeds)}", key=["id"],
            schedule={"every": every, "cursor": "updated_at", "clock": "database"},
            properties={"name": {"type": "string", "column": "name"}},
        )  # fmt: skip


def write(project: Path, place: str, **body: Any) -> None:
    file = project / "config" / f"{place}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(body))


def is_equal(project: Path, source_url: str, number: int) -> bool:
    """The feed's model in the SQLite store has the rows of its table."""
    statement = f"SELECT id, name FROM t{number} ORDER BY id"
    with closing(sqlite3.connect(project / "store.db")) as store:
        return store.execute(statement).fetchall() == rows(source_url, statement)
