"""The pages that need no more than a database, or none: their commands do what they say."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from tests.acceptance import guide
from tests.acceptance.new_user import commands
from tests.acceptance.quick_commands import ROOT, installed
from tests.conftest import mysql_connection

README = ROOT / "README.md"
OPERATING = ROOT / "docs" / "operating.md"
QUICKSTART = ROOT / "docs" / "quickstart.md"
POSTGRESQL = ROOT / "docs" / "postgresql.md"
MYSQL = ROOT / "docs" / "mysql.md"
FILES = ROOT / "docs" / "files.md"
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
GUIDES = (README, OPERATING, QUICKSTART, POSTGRESQL, MYSQL, FILES, TROUBLESHOOTING)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """Where a shell finds `headrace`."""
    with installed(tmp_path) as bin_:
        yield f"{bin_}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def postgres_names(postgres_server: str) -> Iterator[Mapping[str, str]]:
    """What takes the place of the guides' server, databases and roles; these are dropped afterwards."""
    own = f"headrace_test_{uuid.uuid4().hex[:12]}"
    databases = ("headrace_quickstart", "headrace_shop", "headrace_shop_records")
    roles = ("headrace_shop_reader", "headrace_shop_writer")
    instead = {name: f"{own}_{name}" for name in (*databases, *roles)}
    yield instead | {
        "postgresql://postgres@127.0.0.1:5432": postgres_server.rpartition("/")[0],
        "127.0.0.1:5432": postgres_server.rpartition("/")[0].rpartition("@")[2],
    }
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        for name in databases:
            connection.execute(f'DROP DATABASE IF EXISTS "{instead[name]}" WITH (FORCE)')
        for name in roles:
            connection.execute(f'DROP ROLE IF EXISTS "{instead[name]}"')


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


def test_the_quickstart(tmp_path: Path, path: str, postgres_names: Mapping[str, str]) -> None:
    guide.assert_does_what_it_says(
        QUICKSTART, tmp_path, environment={"PATH": path}, instead=postgres_names, programs=("psql",)
    )


def test_postgresql(tmp_path: Path, path: str, postgres_names: Mapping[str, str]) -> None:
    guide.assert_does_what_it_says(
        POSTGRESQL, tmp_path, environment={"PATH": path}, instead=postgres_names, programs=("psql",)
    )


def test_mysql(tmp_path: Path, path: str, mysql_server: str) -> None:
    server = urlsplit(mysql_server)
    own = f"headrace_test_{uuid.uuid4().hex[:12]}"
    asking = f"--host={server.hostname} --port={server.port or 3306} --user={server.username or 'root'}"
    instead = {
        "--host=127.0.0.1 --user=root": asking,
        "127.0.0.1:3306": f"{server.hostname}:{server.port or 3306}",
        "headrace_shop": own,
        "headrace_reader": own,
    }
    given = {"PATH": path, "MYSQL_PWD": unquote(server.password or "")}
    try:
        guide.assert_does_what_it_says(
            MYSQL, tmp_path, environment=given, instead=instead, programs=("mysql",)
        )
    finally:
        with closing(mysql_connection(mysql_server)) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {own}")
            cursor.execute(f"DROP USER IF EXISTS '{own}'@'%'")


def test_files(tmp_path: Path, path: str) -> None:
    guide.assert_does_what_it_says(FILES, tmp_path, environment={"PATH": path})


def test_troubleshooting(tmp_path: Path, path: str) -> None:
    guide.assert_does_what_it_says(TROUBLESHOOTING, tmp_path, environment={"PATH": path})
