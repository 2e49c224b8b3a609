"""Connections to the control database: how transactions begin, and how its errors are named."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from headrace.control.types import now
from headrace.definition.secrets import url_fault
from headrace.errors import (
    ConfigurationError,
    ControlUnavailableError,
    ErrorCode,
    InvariantError,
    RefusedError,
)

_NOT_UPGRADED = "the control database lacks a table or column: run `headrace db upgrade`"

_IDLE_SINCE_S: Final = "idle since"
_PROVEN_FOR_S: Final = 1.0
"""A connection that was used so lately is not asked whether it is alive."""

_NO_DATABASE = "control database: the file is no SQLite database: name another one in HEADRACE_CONTROL_URL"


def control_engine(url: str, *, pool_size: int = 8, wait_s: float = 30.0) -> sa.Engine:
    """An engine for `sqlite:///path` or `postgresql://…`; nothing is connected yet.

    Make it after any fork. A SQLite file's directory is made by `schema.upgrade`, not before: a command
    in the wrong directory leaves nothing there.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed, wait_s=wait_s, pool_size=pool_size)
    engine = sa.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        isolation_level="READ COMMITTED",
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=wait_s,
        connect_args={
            "connect_timeout": 10,
            "application_name": "headrace control",
            # A wait for a lock ends as a retryable error instead of never.
            "options": f"-c lock_timeout={int(wait_s * 1000)}",
        },
    )
    sa.event.listen(engine, "checkin", _note_idle)
    sa.event.listen(engine, "checkout", partial(_prove_alive, engine.dialect))
    return engine


def _note_idle(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info[_IDLE_SINCE_S] = time.monotonic()


def _prove_alive(
    dialect: sa.Dialect, connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object
) -> None:
    """SQLAlchemy's own `pool_pre_ping` asks at every use, which under load doubles the round trips."""
    if time.monotonic() - record.info.get(_IDLE_SINCE_S, float("inf")) < _PROVEN_FOR_S:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise exc.DisconnectionError from error


def _parse(url: str) -> sa.URL:
    if fault := url_fault(url):
        raise ConfigurationError(f"control database: {fault}", code=ErrorCode.CONTROL_URL_INVALID)
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError as error:
        raise ConfigurationError(
            "control database: the URL cannot be read", code=ErrorCode.CONTROL_URL_INVALID
        ) from error
    backend = parsed.get_backend_name()
    if backend not in {"sqlite", "postgresql"}:
        raise ConfigurationError(
            f"control database: sqlite:///path or postgresql://… is needed, not {backend}://",
            code=ErrorCode.CONTROL_URL_INVALID,
        )
    if backend == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ConfigurationError(
            "control database: SQLite needs a file: sqlite:///path", code=ErrorCode.CONTROL_URL_INVALID
        )
    return parsed


def _sqlite_engine(url: sa.URL, *, wait_s: float, pool_size: int) -> sa.Engine:
    engine = sa.create_engine(
        url.set(drivername="sqlite+pysqlite"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=wait_s,
        connect_args={"timeout": wait_s, "check_same_thread": False},
    )
    sa.event.listen(engine, "do_connect", lambda *_: _refuse_missing_directory(engine))
    sa.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _refuse_missing_directory(engine: sa.Engine) -> None:
    if not Path(str(engine.url.database)).parent.is_dir():
        raise ConfigurationError(_NOT_UPGRADED, code=ErrorCode.CONTROL_BEHIND)


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _begin_sqlite does
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def make_directory(engine: sa.Engine) -> None:
    """The directory of a SQLite file exists.

    Raises:
        ConfigurationError: it cannot be made.
    """
    if engine.dialect.name != "sqlite":
        return
    directory = Path(str(engine.url.database)).parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"control database: {directory} cannot be made ({error.strerror}): name another place in "
            "HEADRACE_CONTROL_URL",
            code=ErrorCode.CONTROL_URL_INVALID,
        ) from error


def is_missing(engine: sa.Engine) -> bool:
    """A SQLite file that nobody has made; connecting would make an empty one."""
    return engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists()


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that may write; committed when the block ends without an error.

    On SQLite it holds the write lock from its start: a deferred transaction that reads first cannot wait
    for that lock, it fails at once.
    """
    with _translated(), engine.begin() as connection:
        _begin_sqlite(connection, "BEGIN IMMEDIATE")
        yield connection


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Reads only. On SQLite all statements see one snapshot; on PostgreSQL each has its own, and runs by
    itself: BEGIN and COMMIT would be two more round trips."""
    if engine.dialect.name != "sqlite":
        with single(engine) as connection:
            yield connection
        return
    with _translated(), engine.begin() as connection:
        _begin_sqlite(connection, "BEGIN")
        yield connection


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that only reads, and sees one moment on SQLite and PostgreSQL alike."""
    if engine.dialect.name == "sqlite":
        with reading(engine) as connection:
            yield connection
        return
    with _translated(), engine.connect() as connection:
        connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


@contextmanager
def single(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One statement that may write, committed by itself where the database can; more may be committed each by
    itself or all at the end."""
    if engine.dialect.name == "sqlite":
        with writing(engine) as connection:
            yield connection
        return
    with _translated(), engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


def _begin_sqlite(connection: sa.Connection, begin: str) -> None:
    """What the driver was told not to do by itself, nor SQLAlchemy does."""
    if connection.dialect.name == "sqlite":
        # Past SQLAlchemy, whose way to run a statement costs more than most of ours.
        raw: Any = connection.connection.driver_connection
        raw.execute(begin)


@contextmanager
def _translated() -> Iterator[None]:
    """Messages carry the driver's first line only: never the statement, its values or the URL."""
    try:
        yield
    except sqlite3.OperationalError as error:  # of _begin_sqlite
        raise ControlUnavailableError(f"control database: {error}") from error
    except sqlite3.DatabaseError as error:
        raise ConfigurationError(_NO_DATABASE, code=ErrorCode.CONTROL_URL_INVALID) from error
    except exc.IntegrityError as error:
        raise InvariantError(f"control database: {_first_line(error)}") from error
    except exc.TimeoutError as error:
        raise ControlUnavailableError("control database: no free connection in time") from error
    except exc.ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) in {"42P01", "42703"}:
            raise ConfigurationError(_NOT_UPGRADED, code=ErrorCode.CONTROL_BEHIND) from error
        raise
    except exc.DBAPIError as error:
        if str(error.orig).startswith(("no such table", "no such column", "table ")):
            raise ConfigurationError(_NOT_UPGRADED, code=ErrorCode.CONTROL_BEHIND) from error
        if isinstance(error.orig, sqlite3.DatabaseError) and "not a database" in str(error.orig):
            raise ConfigurationError(_NO_DATABASE, code=ErrorCode.CONTROL_URL_INVALID) from error
        if isinstance(error, exc.OperationalError) or error.connection_invalidated:
            raise ControlUnavailableError(f"control database: {_first_line(error)}") from error
        raise


@contextmanager
def refusing_taken(code: str, detail: str) -> Iterator[None]:
    """What is unique and was taken while we looked is refused. The transaction must end with it."""
    try:
        yield
    except exc.IntegrityError as error:
        raise RefusedError(code, detail) from error


def _first_line(error: exc.DBAPIError) -> str:
    return next(iter(str(error.orig).splitlines()), type(error.orig).__name__)


def insert_or(connection: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that understands ON CONFLICT, in the connection's dialect."""
    return insert_in(connection.dialect.name, table)


def insert_in(dialect: str, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """The same, by the dialect's name: for statements that are built once."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def clock(connection: sa.Connection) -> datetime:
    """The database's clock, aware and in UTC."""
    moment: datetime = connection.execute(sa.select(now())).scalar_one()
    return moment
