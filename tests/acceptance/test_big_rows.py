"""Rows too big for their own good: what is set aside, and that memory stays bounded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import NewDatabase
from tests.acceptance.project import HEADRACE, Project, execute, query, sqlite_url

CELL_BYTES = 200 * 1024 * 1024
BOUND_MIB = 350
MORE_MIB = 50
COLUMNS = [f"c{n}" for n in range(8)]

# The child of a small process: a process inherits for a moment the size of the one that it is forked from.
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
sys.exit(done.returncode)
"""


@dataclass(frozen=True)
class Source:
    """A database of one dialect.

    Attributes:
        big: an expression whose text is an `x` repeated, by its bytes.
        mixed: one whose text does not compress well.
    """

    kind: str
    url: str
    big: Callable[[int], str]
    mixed: Callable[[int], str]
    moment: str


@pytest.fixture(params=["postgres", "sqlite"])
def source(request: pytest.FixtureRequest, new_database: NewDatabase, tmp_path: Path) -> Iterator[Source]:
    columns = ", ".join(f"{c} text" for c in COLUMNS)
    table = f"CREATE TABLE users (id integer PRIMARY KEY, about text, {columns}, updated_at timestamp)"
    if request.param == "sqlite":
        source = Source(
            "sqlite",
            sqlite_url(tmp_path / "source.db"),
            lambda size: f"substr(replace(hex(zeroblob({size} / 2 + 1)), '0', 'x'), 1, {size})",
            lambda size: f"hex(randomblob({size} / 2))",
            "strftime('%Y-%m-%d %H:%M:%f', 'now')",
        )
        execute(source.url, table)
        yield source
        return
    with new_database() as url:
        execute(url, table)
        texts = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, {} / 32) n)"
        yield Source("postgres", url, lambda size: f"repeat('x', {size})", texts.format, "now()")


def project_of(source: Source, root: Path) -> Project:
    texts = {name: {"type": "string", "column": name} for name in ("about", *COLUMNS)}
    return Project.create(
        root,
        {
            "apps/app": {"name": "App", "type": source.kind, "url": source.url},
            "schemas/shop": {"name": "Shop"},
            "visibility_groups/all": {"name": "All"},
            "data_sources/main": {
                "nickname": "Main",
                "schema": "shop",
                "default_for": ["all"],
                "type": "sqlite",
                "url": sqlite_url(root / "store.db"),
            },
            "models/users": {"name": "Users", "schema": "shop"},
            "sources/users": {
                "name": "Users",
                "model": "users",
                "primary": True,
                "app": "app",
                "table": "users",
                "key": ["id"],
                "schedule": {"every": "1m", "cursor": "updated_at", "clock": "database"},
                "properties": texts,
            },
        },
        {},
        warm=True,
    )


def sync_measured(project: Project) -> int:
    """Run `headrace sync`; the peak of its resident memory, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, HEADRACE, "sync"],
        cwd=project.root,
        env=project._whole_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.splitlines()[-1])


def add(source: Source, *rows: int, **values: str) -> None:
    """Rows with these expressions as values."""
    names = ", ".join(["id", "updated_at", *values])
    given = ", ".join([source.moment, *values.values()])
    execute(source.url, *(f"INSERT INTO users ({names}) VALUES ({row}, {given})" for row in rows))


def records(project: Project, columns: str) -> list[tuple[Any, ...]]:
    return query(sqlite_url(project.root / "store.db"), f"SELECT {columns} FROM users ORDER BY id")


def test_a_cell_of_200_mb_is_set_aside_and_memory_stays_bounded(source: Source, tmp_path: Path) -> None:
    add(source, *range(1, 200), about="'fine'")
    usual = sync_measured(project_of(source, tmp_path / "usual"))
    add(source, 200, about=source.big(CELL_BYTES), c0="'kept'")

    project = project_of(source, tmp_path / "project")
    peak = sync_measured(project)

    assert peak < BOUND_MIB
    assert peak < usual + MORE_MIB
    found = records(project, "id, about, c0, _invalid")
    assert found[:199] == [(n, "fine", None, None) for n in range(1, 200)]
    (id_, about, beside, invalid) = found[199]
    assert (id_, about, beside) == (200, None, "kept")
    note = json.loads(invalid)["about"]
    assert note["value"] == "x" * 1_000
    assert note["reason"].startswith("has 209,715,200 bytes, more than the 1,048,576 ")

    execute(source.url, f"UPDATE users SET about = 'mended', updated_at = {source.moment} WHERE id = 200")
    project.headrace("sync")
    assert records(project, "about, _invalid")[199] == ("mended", None)


def test_rows_of_cells_just_below_the_limit_come_whole(source: Source, tmp_path: Path) -> None:
    nearly = source.mixed(900 * 1024)
    add(source, *range(1, 100), about="'small'")
    add(source, *range(100, 115), about=nearly)
    add(source, 115, 116, **dict.fromkeys(COLUMNS, nearly))

    project = project_of(source, tmp_path / "project")
    assert sync_measured(project) < 500  # of what a page and a run of a merge hold, several copies each

    sizes = records(project, f"length(about), length({COLUMNS[-1]}), _invalid")
    assert sizes[99:114] == [(900 * 1024, None, None)] * 15
    assert sizes[114:] == [(None, 900 * 1024, None)] * 2
