"""The table that everybody writes and reads, on either server, and the sessions that do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Protocol, get_args
from urllib.parse import urlsplit

import psycopg
import pymysql

from tests.servers import mariadb_server, postgres_cluster

Dialect = Literal["postgres", "mariadb"]
DIALECTS: Final[tuple[Dialect, ...]] = get_args(Dialect)

DATABASE = "shop"
TABLES = {
    "postgres": """CREATE TABLE items (
        id bigint PRIMARY KEY, version bigint NOT NULL, updated_at timestamptz NOT NULL DEFAULT now())""",
    "mariadb": """CREATE TABLE items (
        id bigint PRIMARY KEY, version bigint NOT NULL, updated_at datetime(6) NOT NULL DEFAULT NOW(6))""",
}
INDEX = "CREATE INDEX items_cursor ON items (updated_at, id)"
LOCK_WAIT_S = 5


class Session(Protocol):
    """One connection in autocommit; a transaction is begun and ended by name."""

    now: ClassVar[str]
    """SQL of the clock that cursors are taken from."""
    second_ago: ClassVar[str]

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]: ...

    def run(self, statement: str, *values: Any) -> None: ...

    def begin(self) -> None: ...

    def commit(self) -> None: ...

    def begin_two_phase(self, name: str) -> None: ...

    def prepare(self, name: str) -> None: ...

    def commit_prepared(self, name: str) -> None: ...

    def close(self) -> None: ...


class PostgresSession:
    """`now()` is the start of the transaction."""

    now: ClassVar[str] = "now()"
    second_ago: ClassVar[str] = "now() - interval '1 second'"

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(
            url, autocommit=True, options=f"-c timezone=UTC -c lock_timeout={LOCK_WAIT_S}s"
        )

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement.encode(), values).fetchall()

    def run(self, statement: str, *values: Any) -> None:
        self._connection.execute(statement.encode(), values)

    def begin(self) -> None:
        self.run("BEGIN")

    def commit(self) -> None:
        self.run("COMMIT")

    def begin_two_phase(self, name: str) -> None:
        self.begin()

    def prepare(self, name: str) -> None:
        self.run(f"PREPARE TRANSACTION '{name}'")

    def commit_prepared(self, name: str) -> None:
        self.run(f"COMMIT PREPARED '{name}'")

    def close(self) -> None:
        self._connection.close()


class MariadbSession:
    """`NOW(6)` is the start of the statement."""

    now: ClassVar[str] = "NOW(6)"
    second_ago: ClassVar[str] = "NOW(6) - INTERVAL 1 SECOND"

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._connection = pymysql.connect(
            host=place.hostname,
            port=place.port or 3306,
            user=place.username or "root",
            password=place.password or "",
            database=place.path.removeprefix("/"),
            autocommit=True,
            init_command=f"SET time_zone = '+00:00', innodb_lock_wait_timeout = {LOCK_WAIT_S}",
        )

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def run(self, statement: str, *values: Any) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)

    def begin(self) -> None:
        self.run("BEGIN")

    def commit(self) -> None:
        self.run("COMMIT")

    def begin_two_phase(self, name: str) -> None:
        self.run(f"XA START '{name}'")

    def prepare(self, name: str) -> None:
        self.run(f"XA END '{name}'")
        self.run(f"XA PREPARE '{name}'")

    def commit_prepared(self, name: str) -> None:
        self.run(f"XA COMMIT '{name}'")

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True, slots=True)
class Source:
    """A server of its own with the empty table in a database."""

    dialect: Dialect
    url: str

    def session(self) -> Session:
        return PostgresSession(self.url) if self.dialect == "postgres" else MariadbSession(self.url)

    @contextmanager
    def connected(self) -> Iterator[Session]:
        session = self.session()
        try:
            yield session
        finally:
            session.close()

    def name(self) -> str:
        ask, server = {
            "postgres": ("SHOW server_version", "PostgreSQL"),
            "mariadb": ("SELECT version()", "MariaDB"),
        }[self.dialect]
        with self.connected() as session:
            ((version,),) = session.rows(ask)
        return f"{server} {str(version).replace('-', ' ').split()[0]}"

    def app(self) -> dict[str, Any]:
        """The definition of an app that reads it."""
        kind = "postgres" if self.dialect == "postgres" else "mysql"
        return {"name": "Shop", "type": kind, "url": self.url}

    @property
    def table(self) -> str:
        return "public.items" if self.dialect == "postgres" else "items"


@contextmanager
def throwaway(dialect: Dialect) -> Iterator[Source]:
    """A new server; it and its files are gone afterwards."""
    if dialect == "postgres":
        with postgres_cluster() as cluster:
            with psycopg.connect(cluster.url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}".encode())
            yield _made(Source(dialect, cluster.database_url(DATABASE)))
        return
    with mariadb_server() as server:
        connection = MariadbSession(server.url)
        connection.run(f"CREATE DATABASE {DATABASE}")
        connection.close()
        yield _made(Source(dialect, server.database_url(DATABASE)))


def _made(source: Source) -> Source:
    with source.connected() as session:
        session.run(TABLES[source.dialect])
        session.run(INDEX)
    return source
