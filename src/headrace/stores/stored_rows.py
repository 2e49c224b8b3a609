"""Implements `ports.StoredRows`: pages of records and staged rows, by primary key or of given keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import pyarrow as pa

from headrace.domain.shape import Column, ModelShape, SourceShape
from headrace.domain.vocabulary import APP, CUSTOMER, INVALID, FeedId, PropertyType
from headrace.stores.dialect import Binds, Session
from headrace.stores.frame import Frame
from headrace.stores.layout import CREATED, GONE
from headrace.stores.reading import read_rows
from headrace.stores.touched import mapped_column

CREATED_COLUMN = Column(name=CREATED, type=PropertyType.DATETIME, source_column=CREATED)
Reading = Callable[[], AbstractContextManager[Session]]
_ALL = 2**62


def text_column(name: str) -> Column:
    return Column(name=name, type=PropertyType.STRING, source_column=name)


def json_column(name: str) -> Column:
    return Column(name=name, type=PropertyType.JSON, source_column=name)


class SqlStoredRows:
    """Over transactions that only read; those of given keys write a temporary table."""

    _reading: Reading

    def record_page(
        self, model: ModelShape, *, after: tuple[str, tuple[str, ...]] | None, limit: int
    ) -> pa.Table:
        with self._reading() as session:
            frame = Frame(session, model)
            order = (text_column(CUSTOMER), *model.key)
            bound = None if after is None else (after[0], *after[1])
            columns = (text_column(CUSTOMER), *model.columns, json_column(INVALID))
            return _page(frame, frame.records, columns, order, after=bound, limit=limit)

    def key_page(
        self, model: ModelShape, *, after: tuple[str, tuple[str, ...]] | None, limit: int
    ) -> pa.Table:
        with self._reading() as session:
            order = (text_column(CUSTOMER), *model.key)
            frame, bound = Frame(session, model), None if after is None else (after[0], *after[1])
            return _page(frame, frame.records, order, order, after=bound, limit=limit)

    def created_page(
        self, model: ModelShape, *, customer: str, after: tuple[str, ...] | None, limit: int
    ) -> pa.Table:
        columns = (text_column(CUSTOMER), *model.key, CREATED_COLUMN)
        with self._reading() as session:
            frame = Frame(session, model)
            binds = frame.binds()
            own = f"{frame.q(CUSTOMER)} = {binds.text(customer)}"
            return _page(
                frame,
                frame.records,
                columns,
                model.key,
                after=after,
                limit=limit,
                binds=binds,
                conditions=(own,),
            )

    def records_at(self, model: ModelShape, keys: pa.Table) -> pa.Table:
        own = (text_column(CUSTOMER),) if CUSTOMER in keys.column_names else ()
        with self._reading() as session:
            frame = Frame(session, model)
            order = (text_column(CUSTOMER), *model.key)
            columns = (text_column(CUSTOMER), *model.columns, json_column(INVALID))
            return _rows_at(frame, frame.records, columns, order, keys=keys, by=(*own, *model.key))

    def staged_page(self, source: SourceShape, *, after: tuple[str, ...] | None, limit: int) -> pa.Table:
        with self._reading() as session:
            frame = _staged_frame(session, source)
            order = _staged_key(source)
            return _page(
                frame, frame.staged(source), _staged_columns(source), order, after=after, limit=limit
            )

    def staged_at(self, source: SourceShape, values: pa.Table) -> pa.Table:
        with self._reading() as session:
            frame = _staged_frame(session, source)
            by = (text_column(CUSTOMER), mapped_column(source))
            columns, order = _staged_columns(source), _staged_key(source)
            return _rows_at(frame, frame.staged(source), columns, order, keys=values, by=by)

    def held_keys(
        self, source: SourceShape, feed_id: FeedId, *, after: str | None, limit: int
    ) -> tuple[str, ...]:
        with self._reading() as session:
            frame = _staged_frame(session, source)
            q, binds = frame.q, frame.binds()
            conditions = [f"{q('feed')} = {binds.text(feed_id)}", q("held")]
            if after is not None:
                conditions.append(f"{q('key')} > {binds.text(after)}")
            found = session.all(
                f"SELECT {q('key')} FROM {frame.dialect.table(GONE)} WHERE {' AND '.join(conditions)}"
                f" ORDER BY {q('key')} LIMIT {binds.add(limit)}",
                binds,
            )
        return tuple(key for (key,) in found)


def _staged_frame(session: Session, source: SourceShape) -> Frame:
    return Frame(session, ModelShape(id=source.model, key=(), columns=(), sources=()))


def _staged_key(source: SourceShape) -> tuple[Column, ...]:
    return (*source.key, *((text_column(APP),) if source.many_apps else ()))


def _staged_columns(source: SourceShape) -> tuple[Column, ...]:
    app = (text_column(APP),) if source.many_apps else ()
    return (text_column(CUSTOMER), *source.columns, *app, json_column(INVALID))


def _page(
    frame: Frame,
    table: str,
    columns: Sequence[Column],
    order: Sequence[Column],
    *,
    after: Sequence[str] | None,
    limit: int,
    binds: Binds | None = None,
    conditions: Sequence[str] = (),
) -> pa.Table:
    """The next rows after a key, in the order that the primary key's index has."""
    binds = binds or frame.binds()
    wanted = list(conditions)
    if after is not None:
        mine = ", ".join(frame.dialect.comparable(frame.q(c.name), c.type) for c in order)
        bound = ", ".join(binds.typed(text, c.type) for text, c in zip(after, order, strict=True))
        wanted.append(f"({mine}) > ({bound})")
    return read_rows(frame, binds, table=table, columns=columns, conditions=wanted, order=order, limit=limit)


def _rows_at(
    frame: Frame,
    table: str,
    columns: Sequence[Column],
    order: Sequence[Column],
    *,
    keys: pa.Table,
    by: Sequence[Column],
) -> pa.Table:
    """The rows whose columns `by` are those of one of the keys."""
    names = [c.name for c in by]
    columns_by = frame.typed(by)
    wanted = frame.make_temp("wanted", columns_by)
    frame.session.load(wanted.name, columns_by, keys)
    condition = f"({frame.names(names)}) IN (SELECT {frame.names(names)} FROM {wanted.name})"
    found = read_rows(
        frame,
        Binds(frame.dialect),
        table=table,
        columns=columns,
        conditions=[condition],
        order=order,
        limit=_ALL,
    )
    frame.drop_temps()
    return found
