"""The pages that need no more than a database, or none: their commands do what they say."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance import guide
from tests.acceptance.new_user import commands
from tests.acceptance.quick_commands import ROOT, installed

README = ROOT / "README.md"
OPERATING = ROOT / "docs" / "operating.md"
GUIDES = (README, OPERATING)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """Where a shell finds `headrace`."""
    with installed(tmp_path) as bin_:
        yield f"{bin_}{os.pathsep}{os.environ['PATH']}"


def test_the_readme(tmp_path: Path, path: str, postgres_database: str) -> None:
    with psycopg.connect(postgres_database) as connection:
        connection.execute("""
            CREATE TABLE users (id bigint PRIMARY KEY, email text, updated_at timestamptz DEFAULT now());
            CREATE TABLE purchases (id bigint PRIMARY KEY, user_id bigint, amount numeric,
                                    updated_at timestamptz DEFAULT now());
            INSERT INTO users SELECT n, 'user-' || n || '@example.com' FROM generate_series(1, 20) n;
            INSERT INTO purchases SELECT n, n % 20 + 1, n FROM generate_series(1, 100) n
        """)
    _, *begin, _ = commands()  # between make setup and up
    url = postgres_database
    typed = "\n".join(begin).replace("postgresql://reader:secret@db.example.com/app", url)
    subprocess.run(
        ["bash", "-e"], input=typed, cwd=tmp_path, env=os.environ | {"PATH": path}, text=True, check=True
    )
    guide.assert_does_what_it_says(
        README, tmp_path / "my-project", environment={"PATH": path, "MY_DB_URL": url}
    )


def test_operating(tmp_path: Path, path: str) -> None:
    subprocess.run(["headrace", "db", "upgrade"], cwd=tmp_path, env=os.environ | {"PATH": path}, check=True)
    guide.assert_does_what_it_says(OPERATING, tmp_path, environment={"PATH": path})
    assert list(tmp_path.glob("headrace-*.tar.zst"))
