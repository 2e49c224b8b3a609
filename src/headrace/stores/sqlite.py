"""Connections to a SQLite data source: sessions, the merge lock, errors."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from headrace.domain.time_text import canonical_datetimes
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
from headrace.stores import sqlite_functions
from headrace.stores.connection_pool import ConnectionPool
from headrace.stores.dialect import Binds, Dialect, ExistingTable, Session
from headrace.stores.sqlite_sql import SqliteDialect

_BUSY_MS: Final = 100
_WAL_TRIES: Final = 100
_WAL_PAUSE_S: Final = 0.01
_LOCK_TIMEOUT_MS: Final = 30_000
_PIECE_ROWS: Final = 20_000
_ROWS_A_STATEMENT: Final = 20
"""One row a statement costs the client half as much again; with more than these it gains nothing more."""
_STEPS_BETWEEN_LOOKS: Final = 100_000
_UNAVAILABLE: Final = ("locked", "busy", "disk", "full", "unable to open", "interrupted", "I/O")


class _Connection:
    """A sqlite3 connection, the moment of its transaction, and what was found out on it."""

    def __init__(self, path: Path) -> None:
        self.now = ""
        self.known: dict[str, float] = {}
        self.raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            # The file first: a commit is durable, and readers are never kept waiting.
            _keep_log_ahead(self.raw)
            self.raw.execute("PRAGMA synchronous = FULL")
            self.raw.execute("PRAGMA temp_store = MEMORY")
            self.raw.execute("PRAGMA cache_size = -65536")
            sqlite_functions.register(self.raw, now=lambda: self.now)
        except BaseException:
            self.raw.close()
            raise

    def close(self) -> None:
        self.raw.close()


def _keep_log_ahead(connection: sqlite3.Connection) -> None:
    """WAL. SQLite waits for nobody where two turn it on for a new file at once."""
    for _ in range(_WAL_TRIES):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(_WAL_PAUSE_S)
        else:
            return
    connection.execute("PRAGMA journal_mode = WAL")


class SqliteSession:
    """One sqlite3 connection in one transaction."""

    def __init__(
        self, connection: sqlite3.Connection, dialect: SqliteDialect, known: dict[str, float]
    ) -> None:
        self._connection = connection
        self.dialect: Dialect = dialect
        self.known = known

    def run(self, sql: str, binds: Binds | None = None) -> int:
        return self._connection.execute(sql, binds.values if binds else {}).rowcount

    def all(self, sql: str, binds: Binds | None = None) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, binds.values if binds else {}).fetchall()

    def load(self, table: str, columns: Sequence[tuple[str, str]], rows: pa.Table) -> None:
        """Some rows a statement, of whole columns that become values of Python: no step of ours per row."""
        names = [name for name, _ in columns]
        insert = f"INSERT INTO {table} ({', '.join(map(self.dialect.quote, names))}) VALUES "
        row = f"({', '.join('?' * len(names))})"
        most = self._connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // len(names)
        together = max(1, min(_ROWS_A_STATEMENT, most))
        for piece in rows.select(names).to_batches(max_chunksize=_PIECE_ROWS):
            lines = zip(*(_storable(column).to_pylist() for column in piece.columns), strict=True)
            whole = (
                tuple(chain.from_iterable(islice(lines, together))) for _ in range(len(piece) // together)
            )
            self._connection.executemany(insert + ", ".join([row] * together), whole)
            self._connection.executemany(insert + row, lines)

    def attempt(self, work: Callable[[], object]) -> bool:
        self.run("SAVEPOINT attempt")
        done = True
        try:
            work()
        except sqlite3.IntegrityError:
            if not self._connection.in_transaction:
                raise  # a user's trigger ended it
            self.run("ROLLBACK TO attempt")
            done = False
        self.run("RELEASE attempt")
        return done

    def drop_key(self, table: str, indexes: Sequence[str]) -> bool:  # noqa: ARG002
        """A key is a part of its table here."""
        return False

    def index_key(self, table: str, columns: Sequence[str]) -> None:  # noqa: ARG002
        raise InvariantError(f"table {table} never lacks its key")

    def adopt_key(self, table: str) -> None:
        raise InvariantError(f"table {table} never lacks its key")

    def refusal(self, work: Callable[[], object]) -> str | None:
        self.run("SAVEPOINT refusal")
        refused = None
        try:
            work()
        except sqlite3.Error as error:
            # A user's trigger may end the whole transaction.
            if _translation(error) is not DataRejectedError or not self._connection.in_transaction:
                raise
            refused = _told(error)
        self.run("ROLLBACK TO refusal")
        self.run("RELEASE refusal")
        return refused


def _storable(column: pa.Array[Any]) -> pa.Array[Any]:
    """Values as the file keeps them: booleans as 0 and 1, dates and datetimes as text."""
    if pa.types.is_boolean(column.type):
        return column.cast(pa.int8())
    if pa.types.is_date(column.type):
        return column.cast(pa.string())
    if pa.types.is_timestamp(column.type):
        texts: pa.Array[Any] = canonical_datetimes(column)
        return texts
    return column


class SqliteConnections:
    """Opens sessions on one SQLite file. One transaction writes at a time: BEGIN IMMEDIATE is the
    merge lock of every model."""

    def __init__(self, place: Callable[[], Path], *, name: str = "") -> None:
        """
        Args:
            place: the file; asked at each connect.
            name: what errors call the data source.
        """
        self.dialect = SqliteDialect()
        self._name = name
        self._place = place
        self._pool: ConnectionPool[_Connection] = ConnectionPool(self._connect)

    @property
    def in_use(self) -> int:
        return self._pool.in_use

    def _connect(self) -> _Connection:
        path = self._place()
        directory = path.parent
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"SQLite data source {self._name}: the directory {directory} cannot be made"
                f" ({error.strerror}); correct the data source's URL, or the rights",
                code=ErrorCode.STORE_MISCONFIGURED,
            ) from error
        return _Connection(path)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only reads."""
        with translated(self._name), self._pool.connection() as connection:
            _begin(connection, "BEGIN", busy_ms=_BUSY_MS)
            with _ended(connection.raw):
                yield SqliteSession(connection.raw, self.dialect, connection.known)

    @contextmanager
    def looking(self, *, timeout_s: int) -> Iterator[Session]:
        """Rolled back when left."""
        with translated(self._name), self._pool.connection() as connection:
            until = time.monotonic() + timeout_s
            raw = connection.raw
            raw.execute("PRAGMA query_only = ON")
            raw.set_progress_handler(lambda: time.monotonic() > until, _STEPS_BETWEEN_LOOKS)
            try:
                _begin(connection, "BEGIN", busy_ms=_BUSY_MS)
                yield SqliteSession(raw, self.dialect, connection.known)
            finally:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")
                raw.set_progress_handler(None, 0)
                raw.execute("PRAGMA query_only = OFF")

    @contextmanager
    def try_locked(self, name: str) -> Iterator[Session | None]:  # noqa: ARG002
        """A transaction that writes; None when another one does."""
        with translated(self._name), self._pool.connection() as connection:
            try:
                _begin(connection, "BEGIN IMMEDIATE", busy_ms=_BUSY_MS)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                yield None
                return
            with _ended(connection.raw):
                yield SqliteSession(connection.raw, self.dialect, connection.known)

    def locked(self, name: str) -> AbstractContextManager[Session]:  # noqa: ARG002
        """As `writing`: one transaction writes at a time."""
        return self.writing()

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that writes, after waiting for its turn."""
        with translated(self._name), self._pool.connection() as connection:
            _begin(connection, "BEGIN IMMEDIATE", busy_ms=_LOCK_TIMEOUT_MS)
            with _ended(connection.raw):
                yield SqliteSession(connection.raw, self.dialect, connection.known)

    def examination(self, session: Session) -> StoreExamination:
        """Its clock is this machine's, and what may not be written fails to open."""
        del session
        return StoreExamination()

    def existing(self, session: Session, table: str) -> ExistingTable | None:
        binds = Binds(self.dialect)
        found = session.all(f"SELECT name, type, pk FROM pragma_table_info({binds.text(table)})", binds)
        if not found:
            return None
        binds = Binds(self.dialect)
        indexes = session.all(f"SELECT name FROM pragma_index_list({binds.text(table)})", binds)
        return ExistingTable(
            columns={name: type_ for name, type_, _ in found},
            key=tuple(n for _, n in sorted((place, name) for name, _, place in found if place)),
            indexes=frozenset(name for (name,) in indexes if name.startswith("_ix_")),
        )

    def catalogue_mark(self, session: Session) -> int:
        # Here a column that is gone is no error: SQLite takes its quoted name for a text.
        ((number,),) = session.all("PRAGMA schema_version")
        return int(number)

    def create_namespace(self, session: Session) -> None:
        """The file is the namespace."""

    def close(self) -> None:
        self._pool.close()


def _begin(connection: _Connection, begin: str, *, busy_ms: int) -> None:
    connection.raw.execute(f"PRAGMA busy_timeout = {busy_ms}")
    connection.raw.execute(begin)
    connection.now = _now()


@contextmanager
def _ended(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@contextmanager
def translated(name: str = "") -> Iterator[None]:
    """Driver errors become ours."""
    try:
        yield
    except sqlite3.Error as error:
        kind = _translation(error)
        code = ErrorCode.STORE_MISCONFIGURED if kind is ConfigurationError else None
        raise kind(_told(error, name), code=code) from error


def _told(error: sqlite3.Error, name: str = "") -> str:
    return f"{f'SQLite data source {name}'.rstrip()}: {error}"


def _translation(error: sqlite3.Error) -> type[HeadraceError]:
    if isinstance(error, (sqlite3.IntegrityError, sqlite3.DataError)):
        return DataRejectedError
    message = str(error)
    if isinstance(error, sqlite3.OperationalError) and any(w in message for w in _UNAVAILABLE):
        return StoreUnavailableError
    if "no such" in message:
        return DataSourceUnfitError
    if "readonly" in message or "not a database" in message:
        return ConfigurationError
    return InvariantError
