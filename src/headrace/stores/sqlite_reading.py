"""Reading from a SQLite data source: connections that cannot write, one statement a snapshot."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from headrace.errors import DataSourceUnfitError
from headrace.stores import sqlite_functions
from headrace.stores.connection_pool import ConnectionPool
from headrace.stores.layout import IDENTITY
from headrace.stores.ownership import Identity
from headrace.stores.sqlite import translated
from headrace.stores.sqlite_sql import SqliteDialect

STATEMENT_TIMEOUT_S: Final = 30.0
_STEPS_BETWEEN_LOOKS: Final = 100_000
_BUSY_MS: Final = 1_000


class _Connection:
    """A connection, and until when its statement may run."""

    def __init__(self, path: Path) -> None:
        self.until = 0.0
        # Never makes a file: a data source that is not there is an error, not an empty one.
        self.raw = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
        )
        try:
            self.raw.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            self.raw.execute("PRAGMA query_only = ON")
            sqlite_functions.register(self.raw, now=lambda: "")
            self.raw.set_progress_handler(lambda: time.monotonic() > self.until, _STEPS_BETWEEN_LOOKS)
        except BaseException:
            self.raw.close()
            raise

    def close(self) -> None:
        self.raw.close()


class SqliteReading:
    """Implements `ReadingConnections`. SQLite has no roles: the reading is the owner's."""

    def __init__(self, place: Callable[[], Path], *, identity: Identity, name: str, keep: int) -> None:
        self.dialect = SqliteDialect()
        self._place = place
        self._identity = identity
        self._name = name
        self._pool: ConnectionPool[_Connection] = ConnectionPool(self._connect, keep=keep)

    @property
    def in_use(self) -> int:
        return self._pool.in_use

    def fetch(
        self,
        sql: str,
        values: Mapping[str, Any],
        *,
        customer: str,  # noqa: ARG002
        prepare: bool = False,  # noqa: ARG002
    ) -> list[tuple[Any, ...]]:
        with translated(self._name), self._pool.connection() as connection:
            connection.until = time.monotonic() + STATEMENT_TIMEOUT_S
            return connection.raw.execute(sql, values).fetchall()

    def _connect(self) -> _Connection:
        connection = _Connection(self._place())
        try:
            stamp = f'SELECT "workspace", "data_source", "schema" FROM main."{IDENTITY}"'
            if connection.raw.execute(stamp).fetchall() != [self._identity]:
                raise DataSourceUnfitError(
                    f"SQLite data source {self._name}: what its URL leads to is not stamped as its own"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        self._pool.close()
