"""One COPY in one transaction, as the rows that the server sends."""

from __future__ import annotations

from contextlib import ExitStack
from math import inf
from selectors import EVENT_READ, DefaultSelector
from time import monotonic
from typing import Any, Final

import psycopg
from psycopg import errors, pq, sql

from headrace.sources.postgres_column import described_columns

Connection = psycopg.Connection[tuple[Any, ...]]

_WITHOUT_WAITING: Final = 1
_MAY_BE_DECRYPTED_S: Final = 0.1
"""Over TLS what comes next may have left the socket already: then nothing more may ever come there."""
_SMALL_BYTES: Final = 256
"""Of a row that is not counted: a take of the most rows of them is no more than some pages."""
_LEFT_S: Final = 2.0
"""So long, in seconds, whoever leaves waits for what is on its way, and for the server to have cancelled."""
_BEGIN: Final = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class CopyStream:
    """A COPY TO STDOUT under way.

    Rows are taken from libpq directly: psycopg's own iterator makes a generator and waits for every
    row, which doubles the client's CPU time for a million rows (1.9 s against 3.5 s on a busy machine). And
    they are kept as bytes: the collector of garbage follows each memoryview, and a page of those made it look
    at all objects of the process again and again (2.5 s for a million rows, of 2.8 s in all).
    """

    def __init__(self, connection: Connection, statement: sql.Composed, look: sql.Composed) -> None:
        """
        Args:
            look: a SELECT of no row with the columns that the statement reads.
        """
        self._connection = connection
        self._look = look
        self._statement = statement
        self._copy = ExitStack()
        self._ended = False
        self._coming = DefaultSelector()
        self._until = inf

    def open(self) -> list[tuple[str, int, int]]:
        """The snapshot is taken. Gives name, type and modifier of the columns, which stay so to the end."""
        statement = self._statement.as_bytes(self._connection)
        with self._connection.cursor() as looking:
            # One round trip. The look takes the snapshot, and the lock that an ALTER waits for.
            looking.execute(_BEGIN + b"; " + self._look.as_bytes(self._connection))
            looking.nextset()
            columns = described_columns(looking)
        if self._connection.info.parameter_status("server_encoding") == "SQL_ASCII":
            # Else the server would refuse to send a row whose bytes are no UTF-8.
            self._connection.execute("SET LOCAL client_encoding = 'SQL_ASCII'")
        cursor = self._copy.enter_context(self._connection.cursor())
        self._copy.enter_context(cursor.copy(statement))
        self._coming.register(self._connection.pgconn.socket, EVENT_READ)
        return columns

    def take(self, rows: int, most_bytes: int) -> list[bytes] | None:
        """The next rows, at most so many, and none after the one that brings them to `most_bytes`, each a
        line of CSV (a message of the server holds one row); None at the end."""
        if self._ended:
            return None
        taken: list[bytes] = []
        left = most_bytes
        fetch, append = self._connection.pgconn.get_copy_data, taken.append
        while len(taken) < rows:
            size, data = fetch(_WITHOUT_WAITING)
            if size > 0:
                append(bytes(data))
                if size > _SMALL_BYTES:
                    left -= size
                    if left <= 0:
                        break
            elif size == 0:
                self._await_more()
            else:
                self._finish()
                break
        return taken or None

    def _await_more(self) -> None:
        """Of what the server sends, more has come. Other threads run meanwhile: libpq's own wait would keep
        them out. Keepalives end a wait for a server that is gone, leaving one for one that stalls."""
        if monotonic() > self._until:
            raise psycopg.OperationalError("the server sends nothing, and nobody waits for it any more")
        pgconn = self._connection.pgconn
        self._coming.select(_MAY_BE_DECRYPTED_S)
        pgconn.consume_input()

    def _finish(self) -> None:
        """The server's last word: that all was sent, or the error that ended the COPY."""
        self._ended = True
        pgconn = self._connection.pgconn
        while (result := pgconn.get_result()) is not None:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result)

    def leave(self) -> None:
        """Nobody asks for more: a `take` of another thread ends soon, though the server stalls."""
        self._until = monotonic() + _LEFT_S

    def close(self) -> None:
        """The statement is cancelled if it has not ended, the transaction is over.

        Raises:
            psycopg.Error: it is not, and the connection is closed.
        """
        try:
            if not self._ended:
                self._cancel()
            self._copy.close()
            self._connection.rollback()
        except BaseException:
            self._connection.close()  # else psycopg would wait for the rest, however long that stalls
            self._copy.close()
            raise
        finally:
            self._coming.close()

    def _cancel(self) -> None:
        """What the server had sent before it cancelled is thrown away."""
        self._until = min(self._until, monotonic() + _LEFT_S)
        self._connection.cancel_safe(timeout=_LEFT_S)
        pgconn = self._connection.pgconn
        while (size := pgconn.get_copy_data(_WITHOUT_WAITING)[0]) >= 0:
            if size == 0:
                self._await_more()
        self._ended = True
        while pgconn.is_busy():
            self._await_more()
        while pgconn.get_result() is not None:
            pass
