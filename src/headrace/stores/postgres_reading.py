"""Reading from a PostgreSQL data source: sessions that cannot write, one statement a transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import psycopg
from psycopg import errors as pg

from headrace.errors import DataSourceUnfitError, StoreUnavailableError
from headrace.stores.connection_pool import ConnectionPool
from headrace.stores.layout import IDENTITY
from headrace.stores.ownership import Identity
from headrace.stores.postgres import SESSION_SETTINGS, connect, translated
from headrace.stores.postgres_sql import PostgresDialect
from headrace.stores.reading_role import CUSTOMER_SETTING

STATEMENT_TIMEOUT: Final = "30s"

_SETTINGS: Final = {
    **SESSION_SETTINGS,
    "statement_timeout": STATEMENT_TIMEOUT,
    # From the session's start: SET TRANSACTION READ ONLY could be undone before the first query.
    "default_transaction_read_only": "on",
}
# True: it ends with the transaction. For the session it would still hold for the connection's next user.
_SET_CUSTOMER: Final = f"SELECT set_config('{CUSTOMER_SETTING}', %s, true)".encode()


class PostgresReading:
    """Implements `ReadingConnections`. A statement is a transaction, and one journey to the server."""

    def __init__(
        self,
        place: Callable[[], str],
        *,
        namespace: str,
        identity: Identity,
        name: str,
        keep: int,
        own_role: bool,
    ) -> None:
        """`own_role`: the place is that of the role for reading, to which row-level security applies."""
        self.dialect = PostgresDialect(namespace)
        self._place = place
        self._identity = identity
        self._name = name
        self._own_role = own_role
        self._pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(self._connect, keep=keep)

    @property
    def in_use(self) -> int:
        return self._pool.in_use

    def fetch(
        self, sql: str, values: Mapping[str, Any], *, customer: str, prepare: bool = False
    ) -> list[tuple[Any, ...]]:
        with translated(self._name):
            try:
                return self._fetched(sql, values, customer, prepare=prepare)
            except (pg.FeatureNotSupported, psycopg.OperationalError) as error:
                # A plan of a table that was altered, or a connection that died while it was idle: neither
                # says anything of this read, and no idle connection is left to meet it again.
                if isinstance(error, psycopg.OperationalError) and error.sqlstate is not None:
                    raise
            try:
                return self._fetched(sql, values, customer, prepare=prepare)
            except pg.FeatureNotSupported as error:
                raise StoreUnavailableError(
                    f"PostgreSQL data source {self._name}: its tables change"
                ) from error

    def _fetched(
        self, sql: str, values: Mapping[str, Any], customer: str, *, prepare: bool
    ) -> list[tuple[Any, ...]]:
        connection = self._pool.take()
        try:
            if self._own_role:
                rows = _fetch_as(connection, customer, sql, values, prepare=prepare)
            else:
                rows = connection.execute(sql.encode(), values, prepare=prepare or None).fetchall()
        except BaseException:
            self._pool.discard(connection)
            raise
        self._pool.give_back(connection)
        return rows

    def _connect(self) -> psycopg.Connection[Any]:
        connection = connect(self._place(), _SETTINGS, prepare_threshold=5, autocommit=True)
        try:
            self._check_identity(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_identity(self, connection: psycopg.Connection[Any]) -> None:
        table = self.dialect.table(IDENTITY)
        stamp = f'SELECT "workspace", "data_source", "schema" FROM {table}'
        try:
            found = connection.execute(stamp.encode(), {}).fetchall()
        except pg.UndefinedTable:
            found = []
        if found != [self._identity]:
            raise DataSourceUnfitError(
                f"PostgreSQL data source {self._name}: what its URL leads to is not stamped as its own"
            )

    def close(self) -> None:
        self._pool.close()


def _fetch_as(
    connection: psycopg.Connection[Any], customer: str, sql: str, values: Mapping[str, Any], *, prepare: bool
) -> list[tuple[Any, ...]]:
    """Both statements travel together, and are one transaction: it ends where the pipeline does."""
    with connection.pipeline():
        connection.execute(_SET_CUSTOMER, (customer,), prepare=True)
        cursor = connection.execute(sql.encode(), values, prepare=prepare or None)
        return cursor.fetchall()
