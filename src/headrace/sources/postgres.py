"""Reads PostgreSQL: one COPY of one snapshot, streamed as pages of the source's own text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final

import psycopg
from psycopg import sql

from headrace.domain.position import Fence, Position, is_stranded
from headrace.domain.source_seen import SourceIdentity
from headrace.errors import InvariantError
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
from headrace.sources.csv_page import parse_copied
from headrace.sources.drift import altered, require_columns
from headrace.sources.fence_memory import Memory, read_memory
from headrace.sources.page import end_of
from headrace.sources.paging import cut_pages
from headrace.sources.postgres_catalogue import PostgresRelation, find_relation, is_as_found, list_tables
from headrace.sources.postgres_errors import ErrorTranslation
from headrace.sources.postgres_examination import examine
from headrace.sources.postgres_fence import Asking, Looked, fence_by, has_clock, look, take_fence
from headrace.sources.postgres_identity import identity_of
from headrace.sources.postgres_keys import castable_keys
from headrace.sources.postgres_packed import can_pack, read_packed
from headrace.sources.postgres_rank import rank_text
from headrace.sources.postgres_select import compose_copy, compose_nothing_after, look_at
from headrace.sources.postgres_stream import CopyStream
from headrace.sources.read_ahead import read_ahead
from headrace.sources.shared_look import SharedLook
from headrace.sources.steady_clock import SteadyClock

Connection = psycopg.Connection[tuple[Any, ...]]

_READER_PREFIX: Final = "headrace-reader:"
_NAME_BYTES: Final = 63  # the server cuts application_name there


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a source may keep us waiting; a `statement_timeout` in the URL's options wins."""

    connect_s: int = 10
    statement_s: int = 300
    lock_s: int = 10
    idle_in_transaction_s: int = 600


class PostgresReader:
    """`SourceReader` of a PostgreSQL database. Connects when asked something, and again after an error."""

    def __init__(
        self,
        app_id: str,
        url: str,
        *,
        nonce: str,
        timeouts: Timeouts | None = None,
        margin_s: float = 2.0,
        clock: SteadyClock | None = None,
        shared: SharedLook | None = None,
    ) -> None:
        """
        Args:
            margin_s: see `Asking`.
            shared: of all readers of the app.
        """
        self._app_id = app_id
        self._url = url
        self._name = _READER_PREFIX + nonce
        if len(self._name.encode()) > _NAME_BYTES:
            raise InvariantError("the nonce of a reader is too long for application_name")
        self._timeouts = timeouts or Timeouts()
        self._asking = Asking(reader=self._name, margin_s=margin_s, clock=clock or SteadyClock())
        self._errors = ErrorTranslation(app_id, url)
        self._shared = shared or SharedLook()
        self._connection: Connection | None = None
        self._connected_s = 0.0
        self._streaming = False
        self._mark = new_mark()
        self._relations: dict[Relation, PostgresRelation] = {}

    def describe(self, relation: Relation) -> TableFacts:
        """The facts as of now; later reads cast by these types until the next `describe`."""
        known = self._relations.pop(relation, None)
        if known is not None:
            with self._connected() as connection:
                if is_as_found(connection, relation, known):
                    self._relations[relation] = known
        return self._relation(relation).facts

    def identity(self, relation: Relation) -> SourceIdentity | None:
        found = self._relation(relation)
        with self._connected() as connection:
            identity = identity_of(connection, found)
        return None if identity is None else replace(identity, columns=found.numbers)

    def tables(self) -> tuple[TableListing, ...]:
        with self._connected() as connection:
            return list_tables(connection)

    def change_token(self) -> str | None:
        """None: PostgreSQL has no cheap one."""
        return None

    def fence(self, plan: ReadPlan, previous_state: str | None) -> Fence:
        relation = self._relation(plan.relation)
        require_columns(self._app_id, plan, relation.facts)
        cursor = relation.column(plan.cursor) if plan.cursor else None
        with self._connected() as connection:
            return take_fence(connection, plan, cursor, previous_state, asking=self._asking)

    def examine(self, plan: ReadPlan, *, limit_s: float) -> Examination:
        relation = self._relation(plan.relation)
        with self._connected() as connection:
            return examine(connection, relation, plan, limit_s=limit_s)

    def quiet(self, plan: ReadPlan, previous_state: str | None, after: Position | None) -> Fence | None:
        relation = self._relation(plan.relation)
        require_columns(self._app_id, plan, relation.facts)
        cursor = relation.column(plan.cursor) if plan.cursor else None
        if after is None or cursor is None or not has_clock(cursor):
            return None
        with self._connected() as connection:
            memory = read_memory(previous_state)
            looked = self._recent_look(connection, memory)
            if not looked.can_be_shared:
                return None
            margin_s = self._asking.margin_s
            fence = fence_by(connection, plan, cursor, memory, looked=looked, margin_s=margin_s)
            if fence.resume is not None or is_stranded(after, fence, lambda at: self.rank(plan, at)):
                return None
            # Only now, by a snapshot that is younger than the look.
            nothing = connection.execute(compose_nothing_after(relation, plan, after)).fetchone()
        return fence if nothing == (True,) else None

    def _recent_look(self, connection: Connection, memory: Memory) -> Looked:
        now_s = self._asking.clock.seconds()
        looked = self._shared.recent(now_s=now_s, since_s=self._connected_s)
        if looked is None or not looked.follows(memory):
            looked = look(connection, self._asking)
            self._shared.put(looked)
        return looked

    def rank(self, plan: ReadPlan, cursor: str) -> Any:
        if plan.cursor is None:
            raise InvariantError("a plan without a cursor has no order of cursors")
        return rank_text(cursor, self._relation(plan.relation).column(plan.cursor).base)

    @contextmanager
    def read(self, plan: ReadPlan, selection: Selection) -> Iterator[Iterator[Page]]:
        """Pages of one COPY. The snapshot is that of the COPY, taken when the context is entered; leaving
        early cancels it, and the connection stays usable."""
        relation = self._relation(plan.relation)
        require_columns(self._app_id, plan, relation.facts)
        if can_pack(relation, plan, selection):
            yield self._packed(relation, plan, selection)
            return
        with ExitStack() as stack:
            with self._connected() as connection:
                if isinstance(selection, ExactKeys):
                    keys = castable_keys(connection, relation, plan, selection.keys)
                    selection = ExactKeys(keys)
                statement = compose_copy(relation, plan, selection, mark=self._mark)
                stream = CopyStream(connection, statement, look_at(relation, plan))
                self._streaming = True
                stack.callback(self._end, stream)
                self._require_described(plan, stream.open())
            pages = self._pages(stream, plan, by_cursor=isinstance(selection, Since))
            yield stack.enter_context(read_ahead(pages, stream.leave))

    def _packed(self, relation: PostgresRelation, plan: ReadPlan, selection: Selection) -> Iterator[Page]:
        """One page at most, whose rows the server has sent as one value."""
        with self._connected() as connection:
            packed = read_packed(connection, relation, plan, selection, mark=self._mark)
        if packed is None:
            return iter(())
        rows = parse_copied(packed, plan.columns)
        return iter((Page(rows, end_of(rows, plan, by_cursor=False)),))

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _pages(self, stream: CopyStream, plan: ReadPlan, *, by_cursor: bool) -> Iterator[Page]:
        cut = cut_pages(
            lambda rows: stream.take(rows, plan.page_bytes),
            lambda rows: (len(rows), sum(map(len, rows))),
            page_rows=plan.page_rows,
            page_bytes=plan.page_bytes,
        )
        while True:
            with self._errors.translated():
                page = next(cut, None)
            if page is None:
                return
            copied = b"".join(chain.from_iterable(page))
            del page  # a page's rows are not held twice
            rows = parse_copied(copied, plan.columns)
            if self._mark.encode() in copied:
                rows = with_oversized(rows, self._mark, limit=plan.max_cell_bytes)
            yield Page(rows, end_of(rows, plan, by_cursor=by_cursor))

    def _require_described(self, plan: ReadPlan, found: Sequence[tuple[str, int, int]]) -> None:
        """The snapshot's columns are as the relation was described, or it is to be described again."""
        relation = self._relations.pop(plan.relation)
        columns = [relation.column(name) for name in plan.columns]
        if found != [(c.facts.name, c.type_oid, c.modifier) for c in columns]:
            raise altered(self._app_id, plan.relation)
        self._relations[plan.relation] = relation

    def _end(self, stream: CopyStream) -> None:
        self._streaming = False
        try:
            stream.close()
        except psycopg.Error:  # what was read stays valid; the connection does not
            self.close()

    def _relation(self, relation: Relation) -> PostgresRelation:
        known = self._relations.get(relation)
        if known is None:
            with self._connected() as connection:
                known = find_relation(connection, self._app_id, relation)
            self._relations[relation] = known
        return known

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A usable connection, in no transaction; an error closes it, so that the next call opens another."""
        if self._streaming:
            raise InvariantError("a reader was asked something while it streams a snapshot")
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
            self._connected_s = self._asking.clock.seconds()
        try:
            with self._errors.translated():
                yield self._connection
        except BaseException:
            self.close()
            raise

    def _connect(self) -> Connection:
        with self._errors.connecting():
            connection = psycopg.connect(
                self._url,
                autocommit=True,
                application_name=self._name,
                client_encoding="utf8",
                connect_timeout=self._timeouts.connect_s,
                keepalives_idle=60,
                keepalives_interval=10,
                keepalives_count=6,
                prepare_threshold=None,
            )
        try:
            with self._errors.translated():
                connection.execute(_settings(self._timeouts, connection.info.options))
        except BaseException:
            connection.close()
            raise
        return connection


def _settings(timeouts: Timeouts, options: str) -> sql.Composed:
    wanted = {
        "TimeZone": "UTC",
        "DateStyle": "ISO, YMD",
        "IntervalStyle": "postgres",
        "bytea_output": "hex",
        "extra_float_digits": "3",
        "default_transaction_read_only": "on",
        "lock_timeout": f"{timeouts.lock_s}s",
        "idle_in_transaction_session_timeout": f"{timeouts.idle_in_transaction_s}s",
        "statement_timeout": f"{timeouts.statement_s}s",
    }
    if "statement_timeout" in options:
        del wanted["statement_timeout"]
    pairs = [sql.SQL("set_config({}, {}, false)").format(name, value) for name, value in wanted.items()]
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join(pairs))
