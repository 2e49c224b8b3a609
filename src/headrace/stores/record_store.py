"""`RecordStore` over a SQL database, whatever its dialect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    UPDATED,
    TableLayout,
    create_table,
    system_layouts,
)
from headrace.stores.merge import SqlMerge, read_applied
from headrace.stores.migration import end_loads, find_migration, migrate, remove
from headrace.stores.ownership import Identity, Ownership
from headrace.stores.preview import SqlPreview
from headrace.stores.reading import read_rows
from headrace.stores.reading_role import ReadingRole, Right
from headrace.stores.stored_rows import SqlStoredRows, json_column, text_column
from headrace.stores.touched import mapped_column

EXAMINED_WITHIN_S: Final = 2
"""For each question."""


class SqlRecordStore(SqlStoredRows):
    """One data source. Safe between threads: each transaction has a connection of its own."""

    def __init__(
        self, connections: Connections, *, identity: Identity, reading_role: ReadingRole | None = None
    ) -> None:
        self._connections = connections
        self._reading_role = reading_role
        self._dialect = connections.dialect
        self._ownership = Ownership(connections, identity)
        self._fit = Fit(connections, identity[1])

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
            merge = SqlMerge(Frame(session, model))
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

    def close(self) -> None:
        self._connections.close()

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
            missing = self._missing_system_tables(session)
            if not missing and self._ownership.check_unless_new(session):
                return []
        with self._connections.locked("") as session:
            missing = self._missing_system_tables(session)
            self._connections.create_namespace(session)
            for layout in missing:
                session.run(create_table(layout, self._dialect))
            self._ownership.check_unless_new(session)
            self._ownership.stamp(session)
        return [TableChange(layout.name, "create") for layout in missing]

    def _prepare_model(self, model: ModelShape) -> list[TableChange]:
        with self._connections.reading() as session:
            migration = find_migration(self._connections, session, model)
            if not migration.needed and not migration.loading:
                return []
        with self._connections.locked(model.id) as session:
            migration = end_loads(self._connections, session, model)
            migrate(Frame(session, model), migration)
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

    def _missing_system_tables(self, session: Session) -> list[TableLayout]:
        layouts = system_layouts(self._dialect)
        return [x for x in layouts if self._connections.existing(session, x.name) is None]
