"""Connections to a PostgreSQL data source: sessions, the merge lock, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, Final, NoReturn
from weakref import WeakKeyDictionary

import psycopg
import pyarrow as pa
from psycopg import errors as pg

from headrace.errors import (
    ConfigurationError,
    DataRejectedError,
    DataSourceUnfitError,
    ErrorCode,
    HeadraceError,
    InvariantError,
    StoreUnavailableError,
)
from headrace.ports import StoreExamination
from headrace.stores.connection_pool import ConnectionPool
from headrace.stores.dialect import Binds, Dialect, ExistingTable, Session
from headrace.stores.postgres_copy import binary_copy
from headrace.stores.postgres_examination import examine
from headrace.stores.postgres_sql import PostgresDialect

APPLICATION_NAME: Final = "headrace-store"
_CONNECT_TIMEOUT_S: Final = 10
SESSION_SETTINGS: Final = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "statement_timeout": "10min",
    "idle_in_transaction_session_timeout": "10min",
    "extra_float_digits": "1",
    "work_mem": "64MB",
    # Compiling takes longer than all but the largest merges.
    "jit": "off",
}
_LOCK_TIMEOUT_S: Final = 30
_NO_WAIT_MS: Final = 200
_KEY_WAIT_S: Final = 5
_KEY_NAME: Final = """
SELECT k.conname FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'p' AND n.nspname = {} AND c.relname = {}
"""
_COLUMNS: Final = """
SELECT a.attname,
       format_type(a.atttypid, a.atttypmod) || CASE WHEN l.collname = 'C' THEN ' COLLATE "C"' ELSE '' END,
       COALESCE(array_position(i.indkey, a.attnum), -1) + 1
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE n.nspname = {} AND c.relname = {} AND c.relkind IN ('r', 'p')
ORDER BY a.attnum
"""
_INDEXES: Final = """
SELECT indexname FROM pg_indexes
WHERE schemaname = {} AND tablename = {} AND starts_with(indexname, '_ix_')
"""
_CONFIGURATION: Final = (
    pg.InsufficientPrivilege,
    pg.InvalidAuthorizationSpecification,
    pg.InvalidCatalogName,
    pg.ReadOnlySqlTransaction,
)
_UNFIT: Final = (pg.UndefinedTable, pg.UndefinedColumn, pg.InvalidSchemaName)
_OF_THE_DATA: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    # A limit of the program is one of its data here: a value too long for an index.
    pg.ProgramLimitExceeded,
    # What a user's own triggers and views raise.
    pg.RaiseException,
    pg.AssertFailure,
    pg.TriggeredActionException,
    pg.WithCheckOptionViolation,
)
_KEY_IS_KEPT: Final = (
    # A reader is at the table.
    pg.LockNotAvailable,
    # A foreign key or a view of a user's needs it.
    pg.DependentObjectsStillExist,
    pg.InsufficientPrivilege,
)
_CONFIGURATION_WORDS: Final = (
    "password authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
)


def connect(
    url: str, settings: Mapping[str, str], *, prepare_threshold: int | None, autocommit: bool = False
) -> psycopg.Connection[Any]:
    """A connection whose session has these settings from its start."""
    return psycopg.connect(
        url,
        connect_timeout=_CONNECT_TIMEOUT_S,
        application_name=APPLICATION_NAME,
        options=" ".join(f"-c {name}={value}" for name, value in settings.items()),
        prepare_threshold=prepare_threshold,
        autocommit=autocommit,
    )


class PostgresSession:
    """One psycopg connection in one transaction."""

    def __init__(
        self, connection: psycopg.Connection[Any], dialect: PostgresDialect, known: dict[str, float]
    ) -> None:
        self._connection = connection
        self.dialect: Dialect = dialect
        self._namespace = dialect.namespace
        self.known = known

    def run(self, sql: str, binds: Binds | None = None) -> int:
        # Binds are passed even when there are none: only so is %% in a quoted name one percent sign.
        return self._connection.execute(sql.encode(), binds.values if binds else {}).rowcount

    def all(self, sql: str, binds: Binds | None = None) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.encode(), binds.values if binds else {}).fetchall()

    def load(self, table: str, columns: Sequence[tuple[str, str]], rows: pa.Table) -> None:
        names, types = zip(*columns, strict=True)
        into = f"{table} ({', '.join(map(self.dialect.quote, names))})"
        # COPY takes no binds: here a percent sign is itself.
        statement = f"COPY {into} FROM STDIN (FORMAT binary)".replace("%%", "%")
        with self._connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for piece in binary_copy(rows.select(names), types):
                copy.write(piece)

    def attempt(self, work: Callable[[], object]) -> bool:
        return self._attempt(work, _OF_THE_DATA)

    def _attempt(self, work: Callable[[], object], refusals: tuple[type[psycopg.Error], ...]) -> bool:
        try:
            with self._connection.transaction():  # a savepoint
                work()
        except refusals:
            return False
        return True

    def drop_key(self, table: str, indexes: Sequence[str]) -> bool:
        binds = Binds(self.dialect)
        found = self.all(_KEY_NAME.format(*map(binds.text, (self._namespace, table))), binds)
        quoted = self.dialect.quote

        def drop() -> None:
            # ACCESS EXCLUSIVE, until the merge ends: of a table that has nothing to read.
            self.run(f"SET LOCAL lock_timeout = '{_NO_WAIT_MS}ms'")
            for (name,) in found:
                self.run(f"ALTER TABLE {self.dialect.table(table)} DROP CONSTRAINT {quoted(name)}")
            for name in indexes:
                self.run(self.dialect.drop_index(name))
            self.run("SET LOCAL lock_timeout = 0")

        return self._attempt(drop, _KEY_IS_KEPT)

    def index_key(self, table: str, columns: Sequence[str]) -> None:
        """Takes SHARE on the table."""
        name, into = self.dialect.quote(f"{table}_pkey"), self.dialect.table(table)
        listed = ", ".join(map(self.dialect.quote, columns))
        self.run(f"CREATE UNIQUE INDEX {name} ON {into} ({listed})")

    def adopt_key(self, table: str) -> None:
        """Takes ACCESS EXCLUSIVE on the table."""
        name, into = self.dialect.quote(f"{table}_pkey"), self.dialect.table(table)
        self.run(f"SET LOCAL lock_timeout = '{_KEY_WAIT_S}s'")
        self.run(f"ALTER TABLE {into} ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {name}")
        self.run("SET LOCAL lock_timeout = 0")

    def refusal(self, work: Callable[[], object]) -> str | None:
        try:
            with self._connection.transaction(force_rollback=True):  # a savepoint
                work()
                self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # else only a commit asks some
        except psycopg.Error as error:
            if _translation(error, _message(error)) is not DataRejectedError:
                raise
            return _told(error)
        return None


class PostgresConnections:
    """Opens sessions on one PostgreSQL data source."""

    def __init__(self, place: Callable[[], str], *, namespace: str, identity: str, name: str = "") -> None:
        """
        Args:
            place: what to connect with, a URL or connection string; asked at each connect.
            name: what errors call the data source.
        """
        self.dialect = PostgresDialect(namespace)
        self._name = name
        self._place = place
        self._identity = identity
        self._known: WeakKeyDictionary[psycopg.Connection[Any], dict[str, float]] = WeakKeyDictionary()
        self._pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(self._connect)

    @property
    def in_use(self) -> int:
        return self._pool.in_use

    def _connect(self) -> psycopg.Connection[Any]:
        # Statements name temporary tables that come and go: nothing is worth preparing.
        return connect(self._place(), SESSION_SETTINGS, prepare_threshold=None)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that takes no lock of ours."""
        with self._session() as session:
            yield session

    writing = reading

    @contextmanager
    def looking(self, *, timeout_s: int) -> Iterator[Session]:
        """Rolled back when left."""
        with (
            translated(self._name),
            self._pool.connection() as connection,
            connection.transaction(force_rollback=True),
        ):
            session = PostgresSession(connection, self.dialect, self._known.setdefault(connection, {}))
            session.run("SET TRANSACTION READ ONLY")
            session.run(f"SET LOCAL statement_timeout = '{timeout_s}s'")
            # Until a query has run, the first of these could be undone.
            session.all("SELECT 1")
            yield session

    @contextmanager
    def try_locked(self, name: str) -> Iterator[Session | None]:
        """A transaction that holds the advisory lock of `name`; None when another one does.

        The lock is taken by the first statement: at READ COMMITTED each later one sees what the lock's
        last holder wrote.
        """
        with self._session() as session:
            binds = Binds(self.dialect)
            lock = binds.add(self._lock_id(name))
            (taken,) = session.all(f"SELECT pg_try_advisory_xact_lock({lock})", binds)
            yield session if taken[0] else None

    @contextmanager
    def locked(self, name: str) -> Iterator[Session]:
        """As `try_locked`, after waiting for the lock; tables wait as long for their readers."""
        with self._session() as session:
            session.run(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'")
            binds = Binds(self.dialect)
            lock = binds.add(self._lock_id(name))
            session.all(f"SELECT pg_advisory_xact_lock({lock})", binds)
            yield session

    @contextmanager
    def _session(self) -> Iterator[PostgresSession]:
        """Committed when left without an error."""
        with translated(self._name), self._pool.connection() as connection, connection.transaction():
            yield PostgresSession(connection, self.dialect, self._known.setdefault(connection, {}))

    def examination(self, session: Session) -> StoreExamination:
        return examine(session, self.dialect.namespace)

    def existing(self, session: Session, table: str) -> ExistingTable | None:
        binds = Binds(self.dialect)
        found = session.all(_COLUMNS.format(*map(binds.text, (self.dialect.namespace, table))), binds)
        if not found:
            return None
        binds = Binds(self.dialect)
        indexes = session.all(_INDEXES.format(*map(binds.text, (self.dialect.namespace, table))), binds)
        return ExistingTable(
            columns={name: type_ for name, type_, _ in found},
            key=tuple(n for _, n in sorted((place, name) for name, _, place in found if place)),
            indexes=frozenset(name for (name,) in indexes),
        )

    def catalogue_mark(self, session: Session) -> int:  # noqa: ARG002
        return 0

    def create_namespace(self, session: Session) -> None:
        binds = Binds(self.dialect)
        name = binds.text(self.dialect.namespace)
        # IF NOT EXISTS would want the right to make one even where there is one.
        if not session.all(f"SELECT 1 FROM pg_namespace WHERE nspname = {name}", binds):
            session.run(f"CREATE SCHEMA IF NOT EXISTS {self.dialect.quote(self.dialect.namespace)}")

    def _lock_id(self, name: str) -> int:
        text = f"headrace\0{self._identity}\0{self.dialect.namespace}\0{name}"
        digest = blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)

    def close(self) -> None:
        self._pool.close()


@contextmanager
def translated(name: str = "") -> Iterator[None]:
    """Driver errors become ours. Only the server's primary message is told: it holds no URL."""
    try:
        yield
    except psycopg.Error as error:
        _raise(error, name)


def _raise(error: psycopg.Error, name: str) -> NoReturn:
    kind = _translation(error, _message(error))
    raise kind(_told(error, name), code=_CODES.get(kind)) from error


_CODES: Final[dict[type[HeadraceError], ErrorCode]] = {ConfigurationError: ErrorCode.STORE_MISCONFIGURED}
"""Of errors that are less than a store's own."""


def _told(error: psycopg.Error, name: str = "") -> str:
    return f"{f'PostgreSQL data source {name}'.rstrip()}: {_message(error)}"


def _message(error: psycopg.Error) -> str:
    return error.diag.message_primary or _without_url(error)


def _translation(error: psycopg.Error, message: str) -> type[HeadraceError]:
    if isinstance(error, _UNFIT):
        return DataSourceUnfitError
    if isinstance(error, _CONFIGURATION):
        return ConfigurationError
    if isinstance(error, _OF_THE_DATA):
        return DataRejectedError
    if isinstance(error, psycopg.OperationalError):
        refused = error.sqlstate is None and any(word in message for word in _CONFIGURATION_WORDS)
        return ConfigurationError if refused else StoreUnavailableError
    return InvariantError


def _without_url(error: psycopg.Error) -> str:
    """libpq's messages name host, port and user, never the password; a URL that it cannot read is
    quoted whole, so that message is not told."""
    if isinstance(error, psycopg.OperationalError):
        return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return type(error).__name__
