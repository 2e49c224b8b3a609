"""One SELECT in one reading transaction, as its rows, without the cells that are too big.

SQLite reads a cell whole before any function sees it (octet_length() came with 3.43). So the SELECT runs
with SQLite's own bound of a value's length; only when a value is over it does the rest run by a second
statement, which asks the size of each text and blob first: slower, and needed by few tables.
"""

from __future__ import annotations

import marshal
import sqlite3
from typing import Any, Final

from headrace.domain.oversize import BEGINNING_CHARACTERS
from headrace.ports import ReadPlan
from headrace.sources.sqlite_catalogue import SqliteColumn, SqliteRelation
from headrace.sources.sqlite_select import Show, Statement, column_sql, shown

_ROWS_AT_ONCE: Final = 16
_PAGES_AT_ONCE: Final = 4
_KNOWS_OCTETS: Final = sqlite3.sqlite_version_info >= (3, 43)


class SelectStream:
    """A SELECT under way."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        relation: SqliteRelation,
        plan: ReadPlan,
        *,
        fast: Statement,
        guarded: Statement,
        mark: str,
    ) -> None:
        """
        Args:
            guarded: the same rows, its columns as `guard_of` shows them.
            mark: what oversized cells are shown with (see `cell_mark`).
        """
        self._connection = connection
        self._relation = relation
        self._limit = plan.max_cell_bytes
        self._mark = mark
        self._most_bytes = plan.page_bytes
        # Rows that are fetched together are weighed together: few enough that even the biggest fit.
        biggest = plan.max_cell_bytes * len(plan.columns)
        self._at_once = max(1, min(_ROWS_AT_ONCE, _PAGES_AT_ONCE * plan.page_bytes // biggest))
        self._fast = fast
        self._guarded = guarded
        self._cursor = connection.cursor()
        self._usual_length = 0
        self._is_guarded = False
        self._given = 0
        self._first: list[tuple[Any, ...]] = []

    def begin(self) -> int:
        """The snapshot is taken; gives the version of its schema."""
        self._connection.execute("BEGIN")
        return schema_version(self._connection)

    def open(self) -> None:
        """The first row is read."""
        self._usual_length = self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._limit)
        try:
            self._cursor.execute(self._fast.sql, self._fast.values)
        except sqlite3.DataError as error:
            self._guard(error)
        self._first = self._fetch(1)

    def take(self, rows: int) -> list[tuple[Any, ...]] | None:
        """The next rows, at most so many, and few after those that bring them to a page's bytes; None at the
        end."""
        taken, self._first = self._first, []
        size = len(marshal.dumps(taken))
        while len(taken) < rows and size < self._most_bytes:
            some = self._fetch(min(self._at_once, rows - len(taken)))
            if not some:
                break
            taken += some
            size += len(marshal.dumps(some))  # the cheapest way to weigh values of any type
        return taken or None

    def close(self) -> None:
        """The statement and the transaction are over."""
        if self._usual_length:
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._usual_length)
        self._cursor.close()
        self._connection.rollback()

    def _fetch(self, rows: int) -> list[tuple[Any, ...]]:
        try:
            some = self._cursor.fetchmany(rows)
        except sqlite3.DataError as error:
            self._guard(error)
            some = self._cursor.fetchmany(rows)
        self._given += len(some)
        return some

    def _guard(self, error: sqlite3.DataError) -> None:
        """The rows that were not given yet come from the guarded statement, of the same snapshot."""
        if self._is_guarded or error.sqlite_errorcode != sqlite3.SQLITE_TOOBIG:
            raise error
        self._is_guarded = True
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._usual_length)
        self._connection.create_function("headrace_oversized", 3, self._oversized)
        self._cursor.execute(self._guarded.after(self._given), self._guarded.values)

    def _oversized(self, column: str | bytes, rowid: int, times: int) -> str | None:
        """A mark when the cell has more bytes than may travel, without reading the rest of it."""
        name = column if isinstance(column, str) else column.decode()
        try:
            blob = self._connection.blobopen(str(self._relation.table), name, rowid, readonly=True)
        except sqlite3.OperationalError:  # a generated column has nothing to open
            return None
        with blob:
            if len(blob) * times <= self._limit:
                return None
            beginning = blob.read(4 * BEGINNING_CHARACTERS).decode("utf-8", "ignore")
            return f"{self._mark}{len(blob)}:{beginning[:BEGINNING_CHARACTERS]}"


def schema_version(connection: sqlite3.Connection) -> int:
    """Changes whenever any table, view or index of the file does."""
    return int(connection.execute("PRAGMA main.schema_version").fetchone()[0])


def guard_of(relation: SqliteRelation, plan: ReadPlan, *, mark: str) -> Show:
    """Shows a column's value, or `<mark><size>:<beginning>` when it has more bytes than the plan lets travel.

    Only of a table with rowids can SQLite before 3.43 tell a size without reading the cell.
    """

    def guarded(column: SqliteColumn) -> str:
        name = column_sql(column.facts.name)
        times = 2 if column.affinity == "none" else 1  # as which bytes are shown
        if relation.table is not None:
            literal = column.facts.name.replace("'", "''")
            size_of = f"headrace_oversized('{literal}', q.{relation.rowid}, "
            marked = (
                f"CASE typeof({name}) WHEN 'text' THEN {size_of}1) WHEN 'blob' THEN {size_of}{times}) END"
            )
            return f"coalesce({marked}, {shown(column)})"
        size = f"octet_length({name})" if _KNOWS_OCTETS else f"length(CAST({name} AS BLOB))"
        weight = f"{size} * CASE typeof({name}) WHEN 'blob' THEN {times} ELSE 1 END"
        marked = f"'{mark}' || {size} || ':'"
        return f"CASE WHEN {weight} > {plan.max_cell_bytes} THEN {marked} ELSE {shown(column)} END"

    return guarded
