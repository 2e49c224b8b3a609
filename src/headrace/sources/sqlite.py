"""Reads SQLite: one SELECT of one reading transaction, streamed as pages of the source's own text."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa

from headrace.domain.position import Fence, Position
from headrace.domain.source_seen import SourceIdentity
from headrace.domain.vocabulary import PropertyType
from headrace.errors import ConfigurationError, ErrorCode, InvariantError
from headrace.ports import (
    ExactKeys,
    Examination,
    Page,
    ReadPlan,
    Relation,
    Selection,
    Since,
    TableFacts,
    TableListing,
)
from headrace.sources.cell_mark import new_mark, with_oversized
from headrace.sources.drift import altered, require_columns
from headrace.sources.page import end_of
from headrace.sources.paging import cut_pages
from headrace.sources.sqlite_catalogue import SqliteColumn, SqliteRelation, find_relation, list_tables
from headrace.sources.sqlite_clock import Format, recognise, render_moment
from headrace.sources.sqlite_errors import translated
from headrace.sources.sqlite_examination import examine
from headrace.sources.sqlite_fence import extremes, least, take_fence
from headrace.sources.sqlite_select import Show, Statement, compose_select, shown
from headrace.sources.sqlite_stream import SelectStream, guard_of, schema_version
from headrace.sources.sqlite_value import Value, bytes_shown, rank_value, text_column, typed_value
from headrace.sources.steady_clock import SteadyClock

_BUSY_TIMEOUT_S: Final = 10.0
_STATEMENT_TIMEOUT_S: Final = 300.0
_STEPS_BETWEEN_CHECKS: Final = 100_000
_CACHE_KIB: Final = 32 * 1024
_CHANGE_COUNTER_AT: Final = 24
_CANONICAL_END: Final = "Z"
_BOOLEANS: Final = {"true": "1", "false": "0"}


class SqliteReader:
    """`SourceReader` of a SQLite file, opened read-only when first asked something, and again after an error
    or when another file has taken its place."""

    def __init__(
        self,
        app_id: str,
        url: str,
        *,
        statement_timeout_s: float = _STATEMENT_TIMEOUT_S,
        clock: SteadyClock | None = None,
    ) -> None:
        self._app_id = app_id
        self._clock = clock or SteadyClock()
        self._path = _path(app_id, url)
        self._statement_timeout_s = statement_timeout_s
        self._connection: sqlite3.Connection | None = None
        self._opened_file: tuple[int, int] | None = None
        self._openings = 0
        self._mark = new_mark()
        self._deadline = 0.0
        self._streaming = False
        self._relations: dict[Relation, SqliteRelation] = {}
        self._described: dict[Relation, tuple[int, int]] = {}
        self._numeric: dict[tuple[Relation, str], bool] = {}

    def describe(self, relation: Relation) -> TableFacts:
        """The facts as of now; later reads bind by these types until the next `describe`."""
        self._numeric = {at: known for at, known in self._numeric.items() if at[0] != relation}
        with self._connected() as connection:
            version = self._openings, schema_version(connection)
        if self._described.get(relation) != version:
            self._relations.pop(relation, None)
        return self._relation(relation).facts

    def identity(self, relation: Relation) -> SourceIdentity | None:
        """By the file, and the counter of changes in its header.

        *Source:* "File change counter" in "Database File Format" of SQLite's manual. In WAL mode it
        never goes back either, but counts only commits that change the first page: a backup copied into the
        file is not told from it when none did since.
        """
        del relation
        with self._connected() as connection:
            connection.execute("BEGIN")
            try:
                # Under a reading lock no writer is in the middle of a commit, nor is its rollback due.
                schema_version(connection)
                seen = self._path.stat()
                with self._path.open("rb") as file:
                    file.seek(_CHANGE_COUNTER_AT)
                    counter = int.from_bytes(file.read(4), "big")
            finally:
                connection.rollback()
        return SourceIdentity(database=f"file {seen.st_ino}", progress=counter)

    def tables(self) -> tuple[TableListing, ...]:
        with self._connected() as connection:
            return list_tables(connection)

    def change_token(self) -> str | None:
        """Changes with every commit of another connection, and when another file takes this one's place."""
        with self._connected() as connection:
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            seen = self._path.stat()
            return f"{self._openings}:{version}:{seen.st_dev}:{seen.st_ino}:{seen.st_mtime_ns}"

    def fence(self, plan: ReadPlan, previous_state: str | None) -> Fence:
        relation = self._relation(plan.relation)
        require_columns(self._app_id, plan, relation.facts)
        bind = partial(self._bound_value, plan)
        with self._connected() as connection:
            return take_fence(connection, relation, plan, previous_state, bind=bind, clock=self._clock)

    def examine(self, plan: ReadPlan, *, limit_s: float) -> Examination:
        relation = self._relation(plan.relation)
        with self._connected() as connection:
            self._deadline = time.monotonic() + limit_s
            return examine(connection, relation, plan)

    def quiet(self, plan: ReadPlan, previous_state: str | None, after: Position | None) -> Fence | None:  # noqa: ARG002
        """None: the token of changes says it at less cost."""
        return None

    def rank(self, plan: ReadPlan, cursor: str) -> Any:
        if plan.cursor is None:
            raise InvariantError("a plan without a cursor has no order of cursors")
        return rank_value(self._bound_value(plan, plan.cursor, cursor))

    @contextmanager
    def read(self, plan: ReadPlan, selection: Selection) -> Iterator[Iterator[Page]]:
        """Pages of one SELECT, in a reading transaction that lasts as long as the context."""
        relation = self._relation(plan.relation)
        require_columns(self._app_id, plan, relation.facts)

        def compose(show: Show) -> Statement:
            bind = partial(self._bound_value, plan)
            return compose_select(relation, plan, selection, bind, show)

        fast, guarded = compose(shown), compose(guard_of(relation, plan, mark=self._mark))
        if isinstance(selection, ExactKeys):
            self._keep_keys(plan, relation, selection)
        with self._connected() as connection:
            stream = SelectStream(connection, relation, plan, fast=fast, guarded=guarded, mark=self._mark)
            self._require_described(connection, plan, stream.begin())
            stream.open()
        self._streaming = True
        try:
            yield self._pages(stream, plan, by_cursor=isinstance(selection, Since))
        finally:
            self._streaming = False
            self._end(stream)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _require_described(self, connection: sqlite3.Connection, plan: ReadPlan, version: int) -> None:
        """The snapshot's columns are as the relation was described, or it is to be described again."""
        if self._described[plan.relation] == (self._openings, version):
            return
        known = self._relations.pop(plan.relation)
        found = find_relation(connection, self._app_id, plan.relation)
        require_columns(self._app_id, plan, found.facts)
        if any(found.column(name) != known.column(name) for name in plan.columns):
            raise altered(self._app_id, plan.relation)
        self._relations[plan.relation] = known

    def _pages(self, stream: SelectStream, plan: ReadPlan, *, by_cursor: bool) -> Iterator[Page]:
        def take(rows: int) -> pa.Table | None:
            taken = stream.take(rows)
            if not taken:
                return None
            table: pa.Table = with_oversized(
                _table(taken, plan.columns), self._mark, limit=plan.max_cell_bytes
            )
            return table

        cut = cut_pages(
            take,
            lambda rows: (rows.num_rows, rows.nbytes),
            page_rows=plan.page_rows,
            page_bytes=plan.page_bytes,
        )
        while True:
            with translated(self._app_id):
                self._deadline = time.monotonic() + self._statement_timeout_s
                page = next(cut, None)
            if page is None:
                return
            rows = pa.concat_tables(page).combine_chunks()
            yield Page(rows, end_of(rows, plan, by_cursor=by_cursor))

    def _end(self, stream: SelectStream) -> None:
        try:
            stream.close()
        except sqlite3.Error:  # what was read stays valid; the connection does not
            self.close()

    def _keep_keys(self, plan: ReadPlan, relation: SqliteRelation, selection: ExactKeys) -> None:
        """The keys are in `temp.headrace_keys`, each with the values that its texts may stand for."""
        formats = {name: self._format_of(relation, name) for name in plan.key}
        columns = ", ".join(f"k{at}" for at in range(len(plan.key)))
        marks = ", ".join("?" for _ in plan.key)
        rows = [
            tuple(self._bound_value(plan, name, text) for name, text in zip(plan.key, key, strict=True))
            for given in selection.keys
            for key in dict.fromkeys((given, _as_stored(given, [formats[name] for name in plan.key], plan)))
        ]
        with self._connected() as connection:
            connection.execute("PRAGMA query_only = 0")
            connection.execute("DROP TABLE IF EXISTS temp.headrace_keys")
            connection.execute(f"CREATE TEMP TABLE headrace_keys ({columns})")
            connection.executemany(f"INSERT INTO temp.headrace_keys VALUES ({marks})", rows)
            connection.execute("PRAGMA query_only = 1")

    def _format_of(self, relation: SqliteRelation, name: str) -> Format | None:
        if relation.column(name).facts.type is not PropertyType.DATETIME:
            return None
        with self._connected() as connection:
            return recognise(extremes(connection, relation, name))

    def _bound_value(self, plan: ReadPlan, name: str, text: str) -> Value:
        column = self._relation(plan.relation).column(name)
        if column.facts.type is PropertyType.BOOLEAN:
            text = _BOOLEANS.get(text, text)
        value = typed_value(text, numeric=self._is_numeric(plan.relation, column))
        return bytes_shown(value) if column.affinity == "none" and isinstance(value, str) else value

    def _is_numeric(self, relation: Relation, column: SqliteColumn) -> bool:
        """Numbers sort first: where the least value is none, no value is. In a column of mixed kinds a
        text that looks like a number is taken for one, so that resuming after it reads too much, never
        too little."""
        if column.affinity != "none":
            return column.affinity != "text"
        known = self._numeric.get((relation, column.facts.name))
        if known is None:
            with self._connected() as connection:
                lowest = least(connection, self._relations[relation], column.facts.name)
            known = self._numeric[relation, column.facts.name] = isinstance(lowest, (int, float))
        return known

    def _relation(self, relation: Relation) -> SqliteRelation:
        known = self._relations.get(relation)
        if known is None:
            with self._connected() as connection:
                # First its version: what changes meanwhile is found when it is read.
                self._described[relation] = self._openings, schema_version(connection)
                known = find_relation(connection, self._app_id, relation)
            self._relations[relation] = known
        return known

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A usable connection, in no transaction; an error closes it, so that the next call opens another."""
        if self._streaming:
            raise InvariantError("a reader was asked something while it streams a snapshot")
        try:
            with translated(self._app_id):
                connection = self._usable()
                self._deadline = time.monotonic() + self._statement_timeout_s
                yield connection
        except BaseException:
            self.close()
            raise

    def _usable(self) -> sqlite3.Connection:
        if not self._path.is_file():
            raise ConfigurationError(
                f"{self._app_id}: there is no file {self._path}; correct the app's URL",
                code=ErrorCode.SOURCE_URL_INVALID,
            )
        seen = self._path.stat()
        if self._connection is not None and self._opened_file != (seen.st_dev, seen.st_ino):
            self.close()
        if self._connection is None:
            self._connection = self._open()
            self._opened_file = (seen.st_dev, seen.st_ino)
            self._openings += 1
        return self._connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.text_factory = bytes  # a text that is no UTF-8 must not end the read
        connection.execute("PRAGMA query_only = 1")
        # Also what a sort without an index fills before it writes a run to disk; merging holds a row of each
        # run, so that with the usual 2 MB wide rows would take half of their table's size.
        connection.execute(f"PRAGMA cache_size = {-_CACHE_KIB}")
        connection.set_progress_handler(self._is_late, _STEPS_BETWEEN_CHECKS)
        return connection

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline


def _path(app_id: str, url: str) -> Path:
    """As SQLAlchemy reads it: sqlite:///relative/path, sqlite:////absolute/path."""
    _, _, rest = url.partition(":")
    if not rest.startswith("///") or len(rest) == len("///"):
        raise ConfigurationError(
            f"{app_id}: a SQLite URL is sqlite:///path, or sqlite:////absolute/path",
            code=ErrorCode.SOURCE_URL_INVALID,
        )
    return Path(unquote(rest.removeprefix("///").partition("?")[0]))


def _table(rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> pa.Table:
    arrays = [text_column(values) for values in zip(*rows, strict=True)]
    return pa.Table.from_arrays(arrays, names=list(columns))


def _as_stored(key: tuple[str, ...], formats: Sequence[Format | None], plan: ReadPlan) -> tuple[str, ...]:
    """Canonical date-times of the key in the form that their column holds."""
    return tuple(_stored_time(text, found, plan) for text, found in zip(key, formats, strict=True))


def _stored_time(text: str, found: Format | None, plan: ReadPlan) -> str:
    if found is None or not text.endswith(_CANONICAL_END):
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return render_moment(found, moment, plan.time_zone)
