"""A data source tried as it was given, before anything of it is kept: connected to, written to, rolled back.

What is told is ours, word for word: a server's or a library's message may quote addresses, and what answers
at a port need not be a database.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import psycopg

from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError, StoreUnavailableError
from headrace.ports.registering import ConnectionFacts
from headrace.stores.layout import IDENTITY
from headrace.stores.ownership import Identity
from headrace.stores.postgres import SESSION_SETTINGS, connect
from headrace.stores.postgres_sql import PostgresDialect

OLDEST_POSTGRES: Final = 120000
_SETTINGS: Final = {**SESSION_SETTINGS, "statement_timeout": "10s", "lock_timeout": "5s"}
_REASONS: Final = (
    ("password authentication failed", "the server refuses this user or password"),
    ("no password supplied", "the server asks for a password"),
    ("no pg_hba.conf entry", "the server does not let this user in from here: see its pg_hba.conf"),
    ("certificate", "the server's certificate is not accepted: see sslmode"),
    ("SSL", "the server and sslmode do not agree on TLS"),
    ('database "', "there is no such database, or it takes no connections"),
    ('role "', "the server refuses this user"),
    ("timeout expired", "there is no answer in time: see host, port and firewalls"),
)
_NO_ANSWER: Final = "no PostgreSQL answers there: see host, port and firewalls"


def check_connection(
    url: str,
    *,
    namespace: str,
    identity: Identity,
    pinned: Callable[[str], str],
    wanted: Collection[str] = (),
) -> ConnectionFacts:
    """The data source can be connected to, tables can be made there, and they would be nobody else's. Nothing
    of the trial stays.

    Args:
        identity: workspace, data source and schema that it would be stamped with.
        pinned: see `AllowedHosts.pinned`.
        wanted: tables that will be made: none of these names may be taken.

    Raises:
        RefusedError: `connection_failed` with what to correct; `host_not_allowed`.
    """
    try:
        place = pinned(url)
    except StoreUnavailableError as error:
        raise _failed(str(error)) from error
    if urlsplit(url).scheme == "sqlite":
        found = _try_sqlite(Path(unquote(urlsplit(place).path)[1:]))
    else:
        found = _try_postgres(place, namespace)
    return found.facts(identity, wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    server_version: str
    encrypted: bool | None
    namespace_exists: bool
    stamp: Identity | None
    tables: frozenset[str]

    def facts(self, identity: Identity, wanted: Collection[str]) -> ConnectionFacts:
        if self.stamp is not None and self.stamp != identity:
            raise _failed("its tables are another data source's: give it another database or namespace")
        foreign = () if self.stamp else tuple(sorted(self.tables))
        taken = sorted(set(foreign) & {*wanted, IDENTITY})
        if taken:
            raise _failed(
                f"there is a table {taken[0]!r} that is not Headrace's, and the name is needed: give it an"
                " empty database or namespace"
            )
        return ConnectionFacts(
            server_version=self.server_version,
            encrypted=self.encrypted,
            namespace_exists=self.namespace_exists,
            stamped=self.stamp is not None,
            foreign_tables=foreign,
        )


def _failed(reason: str) -> RefusedError:
    return RefusedError(Refusal.CONNECTION_FAILED, f"the data source cannot be used as it is given: {reason}")


# --- PostgreSQL ---------------------------------------------------------------------------------


def _try_postgres(place: str, namespace: str) -> _Found:
    try:
        connection = connect(place, _SETTINGS, prepare_threshold=None)
    except psycopg.Error as error:
        message = str(error)
        raise _failed(next((told for word, told in _REASONS if word in message), _NO_ANSWER)) from error
    with closing(connection):
        try:
            return _look_at_postgres(connection, namespace)
        except psycopg.errors.InsufficientPrivilege as error:
            raise _failed(
                f"the user may not make tables in namespace {namespace}: GRANT CREATE ON DATABASE (or ON"
                " SCHEMA where it exists), and TEMPORARY ON DATABASE"
            ) from error
        except psycopg.Error as error:
            raise _failed(f"the server gave up the trial ({error.sqlstate or 'connection lost'})") from error


def _look_at_postgres(connection: psycopg.Connection[Any], namespace: str) -> _Found:
    version = connection.info.server_version
    if version < OLDEST_POSTGRES:
        raise _failed(f"PostgreSQL {OLDEST_POSTGRES // 10000} or later is needed")
    asked = connection.execute(
        "SELECT pg_is_in_recovery(), current_setting('server_encoding'),"
        " EXISTS (SELECT FROM pg_namespace WHERE nspname = %s)",
        [namespace],
    ).fetchone()
    standby, encoding, exists = asked or (False, "", False)
    if standby:
        raise _failed("the server is a standby, which takes no writes: give its primary")
    if encoding != "UTF8":
        raise _failed(f"the database's encoding is {encoding}; UTF8 is needed")
    tables = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
        [namespace],
    ).fetchall()
    names = frozenset(str(name) for (name,) in tables)
    dialect = PostgresDialect(namespace)
    stamp = _stamp(connection, dialect) if IDENTITY in names else None
    if stamp is None:
        _write_to_postgres(connection, dialect, exists=exists)
    return _Found(
        server_version=f"{version // 10000}.{version % 10000}",
        encrypted=connection.pgconn.ssl_in_use,
        namespace_exists=bool(exists),
        stamp=stamp,
        tables=names,
    )


def _stamp(connection: psycopg.Connection[Any], dialect: PostgresDialect) -> Identity | None:
    try:
        with connection.transaction():
            row = connection.execute(
                f'SELECT "workspace", "data_source", "schema" FROM {dialect.table(IDENTITY)}'.encode()
            ).fetchone()
    except psycopg.errors.UndefinedColumn:
        return None  # somebody's own table of this name
    return None if row is None else (row[0], row[1], row[2])


def _write_to_postgres(
    connection: psycopg.Connection[Any], dialect: PostgresDialect, *, exists: bool
) -> None:
    """What `apply` and merges do there first; rolled back."""
    probe = dialect.table(f"_probe_{uuid.uuid4().hex}")
    with connection.transaction(force_rollback=True):
        if not exists:
            connection.execute(f"CREATE SCHEMA {dialect.quote(dialect.namespace)}".encode())
        for statement in (
            f"CREATE TABLE {probe} (id bigint PRIMARY KEY)",
            f"INSERT INTO {probe} VALUES (1)",
            f"DROP TABLE {probe}",
            "CREATE TEMPORARY TABLE headrace_probe (id bigint)",
        ):
            connection.execute(statement.encode())


# --- SQLite -------------------------------------------------------------------------------------


def _try_sqlite(path: Path) -> _Found:
    version = sqlite3.sqlite_version
    if not path.exists():
        parent = next(p for p in path.parents if p.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise _failed("the file cannot be made in its directory")
        return _Found(
            server_version=version, encrypted=None, namespace_exists=False, stamp=None, tables=frozenset()
        )
    with _told_of_files():
        # Never makes a file: it was there a moment ago.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=5
        )
        with closing(connection):
            names = frozenset(
                str(name)
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')"
                )
                if not name.startswith("sqlite_")
            )
            stamp = _stamp_of_file(connection) if IDENTITY in names else None
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE _probe (id INTEGER PRIMARY KEY)")
            connection.execute("ROLLBACK")
    return _Found(server_version=version, encrypted=None, namespace_exists=True, stamp=stamp, tables=names)


def _stamp_of_file(connection: sqlite3.Connection) -> Identity | None:
    # Qualified: else SQLite takes the quoted name of a column that is not there for a text.
    row = connection.execute(
        f'SELECT i."workspace", i."data_source", i."schema" FROM "{IDENTITY}" AS i'
    ).fetchone()
    return None if row is None else (row[0], row[1], row[2])


@contextmanager
def _told_of_files() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        message = str(error)
        if "not a database" in message:
            raise _failed("the file is no SQLite database") from error
        if "locked" in message or "busy" in message:
            raise _failed("the file is locked by another program") from error
        if "readonly" in message or "unable to open" in message:
            raise _failed("the file cannot be written") from error
        raise _failed("the file cannot be used") from error
