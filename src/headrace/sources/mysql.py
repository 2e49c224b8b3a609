"""Reads MySQL and MariaDB: one SELECT of one snapshot, streamed as pages of the source's own text."""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pymysql import err  # type: ignore[import-untyped]

from headrace.domain.arrow import Table, pa
from headrace.domain.clock_step import ClockSight
from headrace.domain.position import Fence, Position
from headrace.domain.source_seen import SourceIdentity
from headrace.errors import InvariantError, SourceDriftError
from headrace.ports import Examination, Page, ReadPlan, Relation, Selection, Since, TableFacts, TableListing
from headrace.sources.cell_mark import new_mark, with_oversized
from headrace.sources.drift import altered, relation_name, require_columns
from headrace.sources.mysql_catalogue import MysqlRelation, find_relation, list_tables
from headrace.sources.mysql_cell import text_table
from headrace.sources.mysql_connection import MysqlConnection, Timeouts, connect, read_url
from headrace.sources.mysql_errors import ErrorTranslation
from headrace.sources.mysql_examination import examine
from headrace.sources.mysql_fence import knows_nothing, take_fence, timeless
from headrace.sources.mysql_identity import identity_of
from headrace.sources.mysql_rank import rank_text
from headrace.sources.mysql_select import compose_select
from headrace.sources.mysql_sighting import Sightings, moment
from headrace.sources.mysql_stream import RowStream
from headrace.sources.page import end_of
from headrace.sources.paging import cut_pages
from headrace.sources.steady_clock import SteadyClock

_READER_PREFIX: Final = "headrace-reader:"
_NONCE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
"""What can stand in a comment, in the part of a statement that a process list shows."""
_UNASKED_S: Final = 30.0
"""A connection that was silent for so long is tried before it is used."""
_AGAIN_S: Final = (0.2, 0.5)
"""How long short transactions are waited for that run at a first look."""

_sightings: defaultdict[tuple[Any, ...], Sightings] = defaultdict(Sightings)
"""By server: its readers in this process share them."""
_sightings_lock = threading.Lock()


class MysqlReader:
    """`SourceReader` of a MySQL or MariaDB database. Connects when asked something, and again after an
    error."""

    def __init__(
        self,
        app_id: str,
        url: str,
        *,
        nonce: str,
        timeouts: Timeouts | None = None,
        margin_s: float = 2.0,
        shared_s: float = 1.0,
        clock: SteadyClock | None = None,
    ) -> None:
        """
        Args:
            margin_s: a statement takes its time slightly before others can see that it runs.
            shared_s: what was seen of the server's transactions serves all readers in this process for so
                long.
        """
        if _NONCE.fullmatch(nonce) is None:
            raise InvariantError("the nonce of a reader cannot stand in a comment")
        self._app_id = app_id
        self._name = _READER_PREFIX + nonce
        self._access = read_url(app_id, url, timeouts or Timeouts())
        self._margin_s = margin_s
        self._shared_s = shared_s
        self._clock = clock or SteadyClock()
        self._errors = ErrorTranslation(app_id, url)
        self._connection: MysqlConnection | None = None
        self._asked_at = 0.0
        self._streaming = False
        self._mark = new_mark()
        self._relations: dict[Relation, MysqlRelation] = {}

    def describe(self, relation: Relation) -> TableFacts:
        """The facts as of now; later reads compare by these types until the next `describe`."""
        self._relations.pop(relation, None)
        return self._relation(relation).facts

    def tables(self) -> tuple[TableListing, ...]:
        with self._connected() as connection:
            return list_tables(connection)

    def change_token(self) -> str | None:
        """None: MySQL has no cheap one."""
        return None

    def identity(self, relation: Relation) -> SourceIdentity | None:
        source = self._relation(relation).source
        with self._connected() as connection:
            return identity_of(connection, source)

    def fence(self, plan: ReadPlan, previous_state: str | None) -> Fence:
        relation = self._relation(plan.relation)
        require_columns(self._app_id, plan, relation.facts)
        if plan.cursor is None:
            return timeless(None)
        fence = self._fence(relation, plan, previous_state, not_older_s=self._shared_s)
        for pause_s in () if previous_state else _AGAIN_S:
            if not knows_nothing(fence):
                break
            time.sleep(pause_s)
            fence = self._fence(relation, plan, fence.state, not_older_s=pause_s)
        return fence

    def _fence(
        self, relation: MysqlRelation, plan: ReadPlan, previous_state: str | None, *, not_older_s: float
    ) -> Fence:
        with self._connected() as connection:
            seen = self._sightings().take(connection, self._name, not_older_s=not_older_s)
            clock = self._now(connection)
            if clock.at < seen.at:  # set back since: what was seen is in the terms of another clock
                seen = self._sightings().take(connection, self._name, not_older_s=0)
                clock = self._now(connection)
        return take_fence(seen, relation, plan, previous_state, clock=clock, margin_s=self._margin_s)

    def _now(self, connection: MysqlConnection) -> ClockSight:
        asked_s = self._clock.seconds()
        return self._clock.sight(moment(connection.ask("SELECT NOW(6)")[0][0]), asked_s=asked_s)

    def examine(self, plan: ReadPlan, *, limit_s: float) -> Examination:
        relation = self._relation(plan.relation)
        with self._connected() as connection:
            return examine(connection, relation, plan, limit_s=limit_s)

    def quiet(self, plan: ReadPlan, previous_state: str | None, after: Position | None) -> Fence | None:  # noqa: ARG002
        """None: two looks bound a fence here, and each feed has its own."""
        return None

    def rank(self, plan: ReadPlan, cursor: str) -> Any:
        if plan.cursor is None:
            raise InvariantError("a plan without a cursor has no order of cursors")
        return rank_text(cursor, self._relation(plan.relation).column(plan.cursor).kind)

    @contextmanager
    def read(self, plan: ReadPlan, selection: Selection) -> Iterator[Iterator[Page]]:
        """Pages of one SELECT, in a snapshot that is taken when the context is entered. Leaving early closes
        the connection: the server would send the rest of the rows, and we read them."""
        relation = self._relation(plan.relation)
        require_columns(self._app_id, plan, relation.facts)
        statement = self._composed(relation, plan, selection)
        with self._connected() as connection:
            stream = RowStream(connection, statement)
            if not stream.open(relation, plan.columns):
                del self._relations[plan.relation]
                raise altered(self._app_id, plan.relation)
        self._streaming = True
        try:
            yield self._pages(stream, relation, plan, by_cursor=isinstance(selection, Since))
        finally:
            self._streaming = False
            self._end(stream)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()

    def _composed(self, relation: MysqlRelation, plan: ReadPlan, selection: Selection) -> str:
        try:
            statement = compose_select(relation, plan, selection, mark=self._mark)
        except ValueError as error:
            where = relation_name(plan.relation)
            raise SourceDriftError(
                f"{self._app_id}: in {where} a key or cursor changed its type: {error}"
            ) from error
        return statement.replace("SELECT ", f"SELECT /* {self._name} */ ", 1)

    def _pages(
        self, stream: RowStream, relation: MysqlRelation, plan: ReadPlan, *, by_cursor: bool
    ) -> Iterator[Page]:
        columns = [relation.column(name) for name in plan.columns]

        def take(rows: int) -> Table | None:
            cells = stream.take(rows, plan.page_bytes)
            return None if cells is None else text_table(columns, cells, mark=self._mark)

        cut = cut_pages(
            take,
            lambda rows: (rows.num_rows, rows.nbytes),
            page_rows=plan.page_rows,
            page_bytes=plan.page_bytes,
        )
        while True:
            with self._errors.translated():
                page = next(cut, None)
            if page is None:
                return
            rows = pa.concat_tables(page).combine_chunks()
            if any(column.longest is None or column.longest > plan.max_cell_bytes for column in columns):
                rows = with_oversized(rows, self._mark, limit=plan.max_cell_bytes)
            yield Page(rows, end_of(rows, plan, by_cursor=by_cursor))

    def _end(self, stream: RowStream) -> None:
        try:
            healthy = stream.close()
        except err.MySQLError:  # what was read stays valid; the connection does not
            healthy = False
        if not healthy:
            self.close()

    def _relation(self, relation: Relation) -> MysqlRelation:
        known = self._relations.get(relation)
        if known is None:
            with self._connected() as connection:
                known = find_relation(connection, self._app_id, relation)
            self._relations[relation] = known
        return known

    def _sightings(self) -> Sightings:
        arguments = self._access.arguments
        server = tuple(arguments.get(name) for name in ("host", "port", "unix_socket", "user"))
        with _sightings_lock:
            return _sightings[server]

    @contextmanager
    def _connected(self) -> Iterator[MysqlConnection]:
        """A usable connection, in no transaction; an error closes it, so that the next call opens another."""
        if self._streaming:
            raise InvariantError("a reader was asked something while it streams a snapshot")
        try:
            connection = self._usable()
            with self._errors.translated():
                yield connection
        except BaseException:
            self.close()
            raise
        self._asked_at = time.monotonic()

    def _usable(self) -> MysqlConnection:
        if self._connection is not None and time.monotonic() - self._asked_at > _UNASKED_S:
            try:
                self._connection.ping(reconnect=False)
            except err.MySQLError:  # servers and proxies drop whoever says nothing for long
                self.close()
        if self._connection is None or not self._connection.open:
            with self._errors.connecting():
                self._connection = connect(self._access)
        return self._connection
