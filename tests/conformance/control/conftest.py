"""Control databases of both dialects: upgraded once, emptied before each test."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from headrace.control import tables
from headrace.control.engine import control_engine
from headrace.control.schema import upgrade
from tests.conformance.control.project import PURCHASES, USERS, Control
from tests.conftest import database_url


@pytest.fixture(scope="session")
def upgraded_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("control") / "upgraded.db"
    engine = control_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()  # the last connection moves the WAL into the file
    return path


@pytest.fixture(scope="session")
def upgraded_postgres(postgres_server: str) -> Iterator[str]:
    name = sql.Identifier(f"headrace_test_{uuid.uuid4().hex[:12]}")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        # Nothing here asks what a crash of the server leaves.
        connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
        url = database_url(postgres_server, name.as_string().strip('"'))
        engine = control_engine(url)
        upgrade(engine)
        engine.dispose()
        yield url
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture(params=["sqlite", "postgresql"])
def control_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an upgraded control database in which nothing was applied."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("upgraded_sqlite"), tmp_path / "control.db")
        return f"sqlite:///{tmp_path / 'control.db'}"
    url = str(request.getfixturevalue("upgraded_postgres"))
    _empty(url)
    return url


def _empty(url: str) -> None:
    kept = {tables.workspace.name, tables.routing_version.name}
    names = [t.name for t in reversed(tables.metadata.sorted_tables) if t.name not in kept]
    deletes = "; ".join(f'DELETE FROM "{name}"' for name in names)
    with psycopg.connect(url) as connection:
        connection.execute(
            f"UPDATE customer SET parent_id = NULL; {deletes}; UPDATE routing_version SET version = 1"
        )


@pytest.fixture
def bare(control_url: str) -> Iterator[Control]:
    """Upgraded, and nothing applied."""
    engine = control_engine(control_url, pool_size=16)
    yield Control(engine)
    engine.dispose()


@pytest.fixture
def control(bare: Control) -> Control:
    """Two feeds applied: users and purchases."""
    bare.apply(USERS, PURCHASES)
    return bare
