"""Databases that tables are read from, as far as the lossless tests differ by them.

Statements are plain SQL with literals. Another database is another class here, and a name in `DATABASES`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import psycopg

from headrace.ports import SourceReader
from headrace.sources.mysql import MysqlReader
from headrace.sources.postgres import PostgresReader
from tests.conftest import mysql_connection

TABLE = "things"


class Session:
    """A session that writes `things`; in no transaction until `begin`."""

    def __init__(self, connection: Any, database: SourceDatabase) -> None:
        self._connection = connection
        self._database = database

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        cursor = self._connection.cursor()
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []

    def begin(self) -> None:
        self.run(self._database.begin)

    def commit(self) -> None:
        self.run("COMMIT")

    def begin_two_phases(self, name: str) -> None:
        self._phase("begin", name)

    def prepare(self, name: str) -> None:
        self._phase("prepare", name)

    def commit_prepared(self, name: str) -> None:
        self._phase("commit", name)

    def end(self) -> None:
        self._connection.close()

    def _phase(self, phase: str, name: str) -> None:
        for statement in self._database.two_phases[phase]:
            self.run(statement.format(name=name))

    def insert(self, id_: int, name: str, at: str | None = None) -> None:
        """A row dated by the database's clock, or by the SQL expression `at`."""
        self.run(f"INSERT INTO {TABLE} (id, name, updated_at) VALUES ({id_}, '{name}', {self._at(at)})")

    def rename(self, id_: int, name: str, at: str | None = None) -> None:
        self.run(f"UPDATE {TABLE} SET name = '{name}', updated_at = {self._at(at)} WHERE id = {id_}")

    def names(self) -> dict[int, str]:
        """What is committed, as this session sees it."""
        return dict(self.run(f"SELECT id, name FROM {TABLE}"))  # type: ignore[arg-type]

    def _at(self, expression: str | None) -> str:
        return self._database.now if expression is None else expression


class SourceDatabase(Protocol):
    """A database with the table `things (id, name, updated_at)`.

    Attributes:
        type, url: as an app names them.
        now: the clock as the cursor column takes it; of the transaction where the database has such.
        begin: the statement that begins a transaction that will write.
        two_phases: statements that begin, prepare and commit a transaction `{name}` in two phases.
        precisions: types of the cursor column by the name of their precision.
        writers: transactions that may write at a time; None: any number.
    """

    type: str
    url: str
    now: str
    begin: str
    two_phases: dict[str, tuple[str, ...]]
    precisions: dict[str, str]
    writers: int | None
    next_second: str
    """The next whole second: what a clock that rounds up shows."""

    def now_in(self, precision: str) -> str:
        """The clock as a column of this precision takes it."""
        ...

    def now_off(self, seconds: int) -> str:
        """What a clock shows that is off by so much."""
        ...

    def make(self, cursor_type: str | None = None) -> None:
        """The table is there, empty."""
        ...

    def session(self) -> Any:
        """A context manager of a `Session`."""
        ...

    def strict(self, reader: SourceReader) -> SourceReader:
        """The reader without the margin of its fences: nothing is found by chance."""
        ...


@dataclass(slots=True)
class PostgresDatabase:
    url: str
    role: str = ""
    """Who reads, where it is another than who writes."""
    margin_s: float = 0.0
    type: str = "postgres"
    now: str = "now()"
    begin: str = "BEGIN"
    writers: int | None = None
    next_second: str = "date_trunc('second', clock_timestamp()) + interval '1 second'"

    def now_in(self, precision: str) -> str:
        del precision  # the column rounds
        return self.now

    def now_off(self, seconds: int) -> str:
        return f"now() + interval '{seconds} seconds'"

    @property
    def two_phases(self) -> dict[str, tuple[str, ...]]:
        return {
            "begin": ("BEGIN",),
            "prepare": ("PREPARE TRANSACTION '{name}'",),
            "commit": ("COMMIT PREPARED '{name}'",),
        }

    @property
    def precisions(self) -> dict[str, str]:
        return {"microsecond": "timestamptz", "millisecond": "timestamptz(3)", "second": "timestamp(0)"}

    @property
    def reading_url(self) -> str:
        return self.url.replace("postgres@", f"{self.role}@") if self.role else self.url

    def make(self, cursor_type: str | None = None) -> None:
        with self.session() as session:
            session.run(f"DROP TABLE IF EXISTS {TABLE}")
            kind = cursor_type or "timestamptz"
            session.run(f"CREATE TABLE {TABLE} (id bigint PRIMARY KEY, name text, updated_at {kind})")
            session.run(f"CREATE INDEX ON {TABLE} (updated_at, id)")
            if self.role:
                session.run(f"GRANT SELECT ON {TABLE} TO {self.role}")

    @contextmanager
    def session(self, options: str = "-c timezone=UTC") -> Iterator[Session]:
        with closing(psycopg.connect(self.url, autocommit=True, options=options)) as connection:
            yield Session(connection, self)

    def strict(self, reader: SourceReader) -> SourceReader:
        assert isinstance(reader, PostgresReader)
        reader._asking = replace(reader._asking, margin_s=self.margin_s)
        return reader


@dataclass(slots=True)
class MysqlDatabase:
    url: str
    role: str = ""
    """Who reads, where it is another than who writes."""
    type: str = "mysql"
    now: str = "NOW(6)"
    begin: str = "START TRANSACTION"
    writers: int | None = None
    next_second: str = "DATE_FORMAT(NOW(6) + INTERVAL 1 SECOND, '%Y-%m-%d %H:%i:%s')"

    def now_in(self, precision: str) -> str:
        del precision  # the column rounds
        return self.now

    def now_off(self, seconds: int) -> str:
        return f"NOW(6) + INTERVAL {seconds} SECOND"

    @property
    def two_phases(self) -> dict[str, tuple[str, ...]]:
        return {
            "begin": ("XA START '{name}'",),
            "prepare": ("XA END '{name}'", "XA PREPARE '{name}'"),
            "commit": ("XA COMMIT '{name}'",),
        }

    @property
    def precisions(self) -> dict[str, str]:
        return {"microsecond": "datetime(6)", "millisecond": "timestamp(3) NULL", "second": "datetime"}

    @property
    def reading_url(self) -> str:
        return self.url.replace("root@", f"{self.role}@") if self.role else self.url

    def make(self, cursor_type: str | None = None) -> None:
        with self.session() as session:
            session.run(f"DROP TABLE IF EXISTS {TABLE}")
            kind = cursor_type or "datetime(6)"
            session.run(f"CREATE TABLE {TABLE} (id bigint PRIMARY KEY, name text, updated_at {kind})")
            session.run(f"CREATE INDEX things_cursor ON {TABLE} (updated_at, id)")

    @contextmanager
    def session(self) -> Iterator[Session]:
        connection = mysql_connection(self.url)
        yield Session(connection, self)
        if connection.open:
            connection.close()

    def strict(self, reader: SourceReader) -> SourceReader:
        assert isinstance(reader, MysqlReader)
        reader._margin_s = reader._shared_s = 0.0
        return reader


@dataclass(slots=True)
class SqliteDatabase:
    path: Path
    type: str = "sqlite"
    now: str = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    begin: str = "BEGIN IMMEDIATE"
    writers: int | None = 1
    next_second: str = "datetime('now', '+1 second')"

    def now_in(self, precision: str) -> str:
        return self.now if precision == "millisecond" else "CURRENT_TIMESTAMP"

    def now_off(self, seconds: int) -> str:
        return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '{seconds:+d} seconds')"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    @property
    def reading_url(self) -> str:
        return self.url

    @property
    def two_phases(self) -> dict[str, tuple[str, ...]]:
        return {}

    @property
    def precisions(self) -> dict[str, str]:
        return {"millisecond": "TEXT", "second": "TEXT"}

    def make(self, cursor_type: str | None = None) -> None:
        with self.session() as session:
            session.run(f"DROP TABLE IF EXISTS {TABLE}")
            kind = cursor_type or "TEXT"
            session.run(f"CREATE TABLE {TABLE} (id INTEGER PRIMARY KEY, name TEXT, updated_at {kind})")
            session.run(f"CREATE INDEX things_cursor ON {TABLE} (updated_at, id)")

    @contextmanager
    def session(self) -> Iterator[Session]:
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=30)) as connection:
            yield Session(connection, self)

    def strict(self, reader: SourceReader) -> SourceReader:
        return reader
