"""A table to lose rows of, in each database that can be read, and servers that may be stopped."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.acceptance.conftest import NewDatabase
from tests.acceptance.lossless.databases import MysqlDatabase, PostgresDatabase, SqliteDatabase
from tests.acceptance.lossless.things import Database, Things, project_of
from tests.conftest import mysql_connection
from tests.servers import MariadbServer, PostgresCluster, mariadb_server, postgres_cluster

DATABASES = ("postgres", "mysql", "sqlite")
MakeThings = Callable[..., Things]


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> Database:
    """An empty table `things`; a test narrows the databases by parametrizing it."""
    made: Database = request.getfixturevalue(f"{request.param}_things")
    made.make()
    return made


@pytest.fixture
def postgres_things(new_database: NewDatabase) -> Iterator[PostgresDatabase]:
    with new_database() as url:
        yield PostgresDatabase(url)


@pytest.fixture
def mysql_things(mariadb: MariadbServer) -> Iterator[MysqlDatabase]:
    """A new database of a server where nobody else has transactions."""
    with mysql_database_in(mariadb) as database:
        yield database


@contextmanager
def mysql_database_in(server: MariadbServer) -> Iterator[MysqlDatabase]:
    """A new database of the server, without tables."""
    name = f"headrace_test_{uuid.uuid4().hex[:12]}"
    with closing(mysql_connection(server.url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    yield MysqlDatabase(server.database_url(name))
    with closing(mysql_connection(server.url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")


@pytest.fixture
def sqlite_things(tmp_path: Path) -> SqliteDatabase:
    return SqliteDatabase(tmp_path / "source.db")


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeThings]:
    """Reads a database's table: `read(database, clock=...)`."""
    with ExitStack() as stack:

        def made(database: Database, **schedule: Any) -> Things:
            project = project_of(tmp_path / f"project-{uuid.uuid4().hex[:8]}", database, **schedule)
            things = Things(project, database, monkeypatch)
            stack.callback(things.close)
            return things

        yield made


@pytest.fixture(scope="session")
def cluster() -> Iterator[PostgresCluster]:
    """A server that tests may restart; each uses a database of its own in it."""
    with postgres_cluster() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    """The same of MariaDB."""
    with mariadb_server() as server:
        yield server


@contextmanager
def database_in(server: PostgresCluster) -> Iterator[PostgresDatabase]:
    """A new database of the cluster, with an empty table `things`."""
    name = f"headrace_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    database = PostgresDatabase(server.database_url(name))
    database.make()
    yield database
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def restartable(cluster: PostgresCluster) -> Iterator[PostgresDatabase]:
    with database_in(cluster) as database:
        yield database


@dataclass(frozen=True, slots=True)
class Restartable:
    """A database and how its server is restarted."""

    database: Database
    restart: Callable[[], None]


@pytest.fixture(params=["postgres", "mysql"])
def two_phases(request: pytest.FixtureRequest) -> Restartable:
    """A database that knows transactions of two phases, which outlive its server; the table is empty."""
    if request.param == "postgres":
        cluster = request.getfixturevalue("cluster")
        return Restartable(request.getfixturevalue("restartable"), cluster.restart)
    database = request.getfixturevalue("mysql_things")
    database.make()
    return Restartable(database, request.getfixturevalue("mariadb").restart)
