"""`RecordStore` over a SQL database, whatever its dialect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

from headrace.domain.shape import Column, ModelShape, SourceShape
from headrace.domain.vocabulary import APP, CUSTOMER, INVALID, FeedId, PropertyType
from headrace.ports import (
    Applied,
    MergeTransaction,
    StoreExamination,
    TableChange,
)
from headrace.stores.dialect import Connections, Session
from headrace.stores.fit import Fit
from headrace.stores.frame import Frame
from headrace.stores.layout import (
    CREATED,
    GONE,
    OUTBOX,
    UPDATED,
    TableLayout,
    create_index,
    create_table,
    outbox_layouts,
    system_layouts,
)
from headrace.stores.merge import SqlMerge, read_applied
from headrace.stores.migration import end_loads, find_migration, migrate, remove
from headrace.stores.outbox import EventsOf
from headrace.stores.outbox_log import SqlOutbox, is_drained
from headrace.stores.ownership import Identity, Ownership
from headrace.stores.preview import SqlPreview
from headrace.stores.reading import read_rows
from headrace.stores.reading_role import ReadingRole, Right
from headrace.stores.stored_rows import SqlStoredRows, json_column, text_column
from headrace.stores.touched import mapped_column

EXAMINED_WITHIN_S: Final = 2
"""For each question."""
_DROPPED: Final = "drop: no events are made any more"


class SqlRecordStore(SqlStoredRows):
    """One data source. Safe between threads: each transaction has a connection of its own."""

    def __init__(
        self,
        connections: Connections,
        *,
        identity: Identity,
        reading_role: ReadingRole | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        """
        Args:
            new_id: names transactions in the outbox; None: the data source makes no events.
        """
        self._connections = connections
        self._reading_role = reading_role
        self._dialect = connections.dialect
        self._ownership = Ownership(connections, identity)
        self._fit = Fit(connections, identity[1])
        self._new_id = new_id

    @property
    def in_use(self) -> int:
        """Transactions that run now."""
        return self._connections.in_use

    def examine(self) -> StoreExamination:
        with self._connections.looking(timeout_s=EXAMINED_WITHIN_S) as session:
            return self._connections.examination(session)

    def pending_changes(self, models: Sequence[ModelShape]) -> tuple[TableChange, ...]:
        with self._connections.reading() as session:
            changes = [TableChange(layout.name, "create") for layout in self._missing_system_tables(session)]
            changes += [TableChange(name, _DROPPED) for name in self._needless_tables(session)]
            self._ownership.check_unless_new(session)
            for model in models:
                changes += find_migration(self._connections, session, model).changes
            changes += [right.change for right in self._lacking_rights(session, models)]
        return tuple(changes)

    def prepare(self, models: Sequence[ModelShape]) -> tuple[TableChange, ...]:
        changes = self._prepare_system_tables()
        for model in models:
            changes += self._prepare_model(model)
        changes += self._prepare_rights(models)
        return tuple(changes)

    def remove(self, model: ModelShape) -> None:
        with self._connections.locked(model.id) as session:
            if self._ownership.check_unless_new(session):
                remove(self._connections, Frame(session, model))

    @contextmanager
    def merging(self, model: ModelShape) -> Iterator[MergeTransaction | None]:
        with self._connections.try_locked(model.id) as session:
            if session is None:
                yield None
                return
            self._ownership.check(session)
            self._fit.check(session, model)
            merge = SqlMerge(self._writing_frame(session, model))
            yield merge
            merge.finish()

    def applied(self, model: ModelShape) -> Mapping[FeedId, Applied]:
        with self._reading(model) as session:
            return read_applied(Frame(session, model))

    def records(
        self, model: ModelShape, *, customer: str | None, key: tuple[str, ...] | None, limit: int
    ) -> pa.Table:
        columns = (
            text_column(CUSTOMER),
            *model.columns,
            Column(name=CREATED, type=PropertyType.DATETIME, source_column=CREATED),
            Column(name=UPDATED, type=PropertyType.DATETIME, source_column=UPDATED),
            json_column(INVALID),
        )
        with self._reading(model) as session:
            frame = Frame(session, model)
            binds = frame.binds()
            conditions = []
            if customer is not None:
                conditions.append(f"{frame.q(CUSTOMER)} = {binds.text(customer)}")
            for column, text in zip(model.key, key or (), strict=key is not None):
                conditions.append(f"{frame.q(column.name)} = {binds.typed(text, column.type)}")
            return read_rows(
                frame,
                binds,
                table=frame.records,
                columns=columns,
                conditions=conditions,
                order=(text_column(CUSTOMER), *model.key),
                limit=limit,
            )

    def staged_rows(self, source: SourceShape, *, customer: str, value: str, limit: int) -> pa.Table:
        app = (text_column(APP),) if source.many_apps else ()
        columns = (text_column(CUSTOMER), *source.columns, *app, json_column(INVALID))
        mapped = mapped_column(source)
        with self._reading() as session:
            frame = Frame(session, ModelShape(id=source.model, key=(), columns=(), sources=()))
            binds = frame.binds()
            conditions = [
                f"{frame.q(CUSTOMER)} = {binds.text(customer)}",
                f"{frame.q(mapped.name)} = {binds.typed(value, mapped.type)}",
            ]
            return read_rows(
                frame,
                binds,
                table=frame.staged(source),
                columns=columns,
                conditions=conditions,
                order=(*source.key, *app),
                limit=limit,
            )

    def preview(self) -> SqlPreview:
        return SqlPreview(self._connections, self._ownership)

    def held_rows(self) -> Mapping[FeedId, int]:
        q = self._dialect.quote
        with self._reading() as session:
            rows = session.all(
                f"SELECT {q('feed')}, count(*) FROM {self._dialect.table(GONE)}"
                f" WHERE {q('held')} GROUP BY {q('feed')} ORDER BY {q('feed')}"
            )
        return {FeedId(feed): count for feed, count in rows}

    def count(self, model: ModelShape) -> int:
        with self._reading(model) as session:
            ((number,),) = session.all(f"SELECT count(*) FROM {self._dialect.table(model.id)}")
        return int(number)

    @property
    def outbox(self) -> SqlOutbox | None:
        if self._new_id is None:
            return None
        return SqlOutbox(self._dialect, reading=self._reading, writing=self._writing)

    def close(self) -> None:
        self._connections.close()

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with self._connections.writing() as session:
            self._ownership.check_once(session)
            yield session

    def _writing_frame(self, session: Session, model: ModelShape) -> Frame:
        """The frame of a transaction that writes records: their events are written with them."""
        frame = Frame(session, model)
        if self._new_id is not None:
            frame.events = EventsOf(frame, merge=self._new_id())
        return frame

    @contextmanager
    def _reading(self, model: ModelShape | None = None) -> Iterator[Session]:
        """A transaction on tables that are this data source's own, and fit the model."""
        with self._connections.reading() as session:
            self._ownership.check_once(session)
            if model is not None:
                self._fit.check(session, model)
            yield session

    def _prepare_system_tables(self) -> list[TableChange]:
        with self._connections.reading() as session:
            missing, needless = self._missing_system_tables(session), self._needless_tables(session)
            if not missing and not needless and self._ownership.check_unless_new(session):
                return []
        with self._connections.locked("") as session:
            missing = self._missing_system_tables(session)
            self._connections.create_namespace(session)
            for layout in missing:
                session.run(create_table(layout, self._dialect))
                for name, _ in layout.indexes:
                    session.run(create_index(layout, name, self._dialect))
            self._ownership.check_unless_new(session)
            self._ownership.stamp(session)
            needless = self._needless_tables(session)
            for name in needless:
                session.run(f"DROP TABLE {self._dialect.table(name)}")
        return [
            *(TableChange(layout.name, "create") for layout in missing),
            *(TableChange(name, _DROPPED) for name in needless),
        ]

    def _prepare_model(self, model: ModelShape) -> list[TableChange]:
        with self._connections.reading() as session:
            migration = find_migration(self._connections, session, model)
            if not migration.needed and not migration.loading:
                return []
        with self._connections.locked(model.id) as session:
            migration = end_loads(self._connections, session, model)
            migrate(self._writing_frame(session, model), migration)
        return migration.changes

    def _prepare_rights(self, models: Sequence[ModelShape]) -> list[TableChange]:
        with self._connections.reading() as session:
            if not self._lacking_rights(session, models):
                return []
        with self._connections.locked("") as session:
            rights = self._lacking_rights(session, models)
            for statement in (statement for right in rights for statement in right.statements):
                session.run(statement)
        return [right.change for right in rights]

    def _lacking_rights(self, session: Session, models: Sequence[ModelShape]) -> list[Right]:
        return [] if self._reading_role is None else self._reading_role.lacking(session, models)

    def _needless_tables(self, session: Session) -> list[str]:
        """Those of an outbox that is not written any more, once every sink has what is in it."""
        if self._new_id is not None or self._connections.existing(session, OUTBOX) is None:
            return []
        if not is_drained(session):
            return []
        return [layout.name for layout in outbox_layouts(self._dialect)]

    def _missing_system_tables(self, session: Session) -> list[TableLayout]:
        layouts = system_layouts(self._dialect)
        if self._new_id is not None:
            layouts += outbox_layouts(self._dialect)
        return [x for x in layouts if self._connections.existing(session, x.name) is None]
