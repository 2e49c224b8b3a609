"""`RecordStore` over a SQL database, whatever its dialect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa

from headrace.domain.shape import Column, ModelShape, SourceShape
from headrace.domain.vocabulary import APP, CUSTOMER, INVALID, FeedId, PropertyType
from headrace.errors import ConfigurationError
from headrace.ports import Applied, MergeTransaction, TableChange
from headrace.stores.dialect import Binds, Connections, Session
from headrace.stores.frame import Frame
from headrace.stores.layout import (
    CREATED,
    GONE,
    IDENTITY,
    UPDATED,
    TableLayout,
    create_table,
    system_layouts,
)
from headrace.stores.merge import SqlMerge, read_applied
from headrace.stores.migration import find_migration, migrate
from headrace.stores.reading import read_rows
from headrace.stores.stored_rows import SqlStoredRows, json_column, text_column
from headrace.stores.touched import mapped_column

Identity = tuple[str, str, str]


class SqlRecordStore(SqlStoredRows):
    """One data source. Safe between threads: each transaction has a connection of its own."""

    def __init__(self, connections: Connections, *, identity: Identity) -> None:
        self._connections = connections
        self._dialect = connections.dialect
        self._identity = identity

    def pending_changes(self, models: Sequence[ModelShape]) -> tuple[TableChange, ...]:
        with self._connections.reading() as session:
            changes = [TableChange(layout.name, "create") for layout in self._missing_system_tables(session)]
            self._check_identity(session)
            for model in models:
                changes += find_migration(self._connections, session, model).changes
        return tuple(changes)

    def prepare(self, models: Sequence[ModelShape]) -> tuple[TableChange, ...]:
        changes = self._prepare_system_tables()
        for model in models:
            changes += self._prepare_model(model)
        return tuple(changes)

    @contextmanager
    def merging(self, model: ModelShape) -> Iterator[MergeTransaction | None]:
        with self._connections.try_locked(model.id) as session:
            if session is None:
                yield None
                return
            self._check_identity(session)
            frame = Frame(session, model)
            yield SqlMerge(frame)
            frame.drop_temps()

    def applied(self, model: ModelShape) -> Mapping[FeedId, Applied]:
        with self._reading() as session:
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
        with self._reading() as session:
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

    def held_rows(self) -> Mapping[FeedId, int]:
        q = self._dialect.quote
        with self._reading() as session:
            rows = session.all(
                f"SELECT {q('feed')}, count(*) FROM {self._dialect.table(GONE)}"
                f" WHERE {q('held')} GROUP BY {q('feed')} ORDER BY {q('feed')}"
            )
        return {FeedId(feed): count for feed, count in rows}

    def count(self, model: ModelShape) -> int:
        with self._reading() as session:
            ((number,),) = session.all(f"SELECT count(*) FROM {self._dialect.table(model.id)}")
        return int(number)

    def close(self) -> None:
        self._connections.close()

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        """A transaction on tables that are this data source's own."""
        with self._connections.reading() as session:
            self._check_identity(session)
            yield session

    def _prepare_system_tables(self) -> list[TableChange]:
        with self._connections.reading() as session:
            missing = self._missing_system_tables(session)
            if not missing:
                self._check_identity(session)
                return []
        with self._connections.locked("") as session:
            missing = self._missing_system_tables(session)
            self._connections.create_namespace(session)
            for layout in missing:
                session.run(create_table(layout, self._dialect))
            self._check_identity(session)
            self._stamp_identity(session)
        return [TableChange(layout.name, "create") for layout in missing]

    def _prepare_model(self, model: ModelShape) -> list[TableChange]:
        with self._connections.reading() as session:
            if not find_migration(self._connections, session, model).needed:
                return []
        with self._connections.locked(model.id) as session:
            migration = find_migration(self._connections, session, model)
            migrate(Frame(session, model), migration)
        return migration.changes

    def _missing_system_tables(self, session: Session) -> list[TableLayout]:
        layouts = system_layouts(self._dialect)
        return [x for x in layouts if self._connections.existing(session, x.name) is None]

    def _check_identity(self, session: Session) -> None:
        """Asked in every transaction: a URL may lead to another database than it did at `prepare`, or have
        led to another workspace's all along.

        Raises:
            ConfigurationError: the tables are stamped as another data source's.
        """
        if self._connections.existing(session, IDENTITY) is None:
            return
        columns = ", ".join(map(self._dialect.quote, ("workspace", "data_source", "schema")))
        found = session.all(f"SELECT {columns} FROM {self._dialect.table(IDENTITY)}")
        if found and tuple(found[0]) != self._identity:
            raise ConfigurationError(
                "the tables belong to data source {1!r} of schema {2!r} in workspace {0!r}, not to data "
                "source {4!r} of schema {5!r} in workspace {3!r}: give this data source another database "
                "or namespace".format(*found[0], *self._identity)
            )

    def _stamp_identity(self, session: Session) -> None:
        table = self._dialect.table(IDENTITY)
        if session.all(f"SELECT 1 FROM {table}"):
            return
        binds = Binds(self._dialect)
        values = ", ".join(map(binds.text, self._identity))
        session.run(f"INSERT INTO {table} VALUES ({values})", binds)
