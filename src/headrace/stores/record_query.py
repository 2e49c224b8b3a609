"""Implements `ports.RecordReader` over a SQL database, whatever its dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.domain.record_query import Place, RecordQuery, record_columns
from headrace.domain.shape import Column, ModelShape
from headrace.errors import InvariantError, RouteMovedError
from headrace.ports.records import RecordPage
from headrace.stores.dialect import Binds
from headrace.stores.reading_connections import ReadingConnections
from headrace.stores.record_json import Encoder, object_encoder, text_of
from headrace.stores.record_query_sql import bind_key, select_one, select_page

_HEAD = 2
"""A row begins with the mark of a move and the customer."""


@dataclass(frozen=True, slots=True)
class _One:
    """The statement that reads a record by its key, and how its rows become JSON."""

    model: ModelShape
    sql: str
    encode: Encoder


class SqlRecordReader:
    """One data source, read only. Safe between threads."""

    def __init__(self, connections: ReadingConnections) -> None:
        self._connections = connections
        self._ones: dict[tuple[str, tuple[str, ...] | None], _One] = {}

    @property
    def in_use(self) -> int:
        return self._connections.in_use

    def page(self, model: ModelShape, query: RecordQuery, *, customer: str, routed_at: int) -> RecordPage:
        _require(customer)
        columns = record_columns(model)
        statement = select_page(self._connections.dialect, model, query, columns, customer=customer)
        rows = self._connections.fetch(statement.sql, statement.binds.values, customer=customer)
        _check_moved(rows, routed_at)
        found = [row for row in rows if row[1] is not None]
        told = len(columns) if query.fields is None else len(query.fields)
        encode = object_encoder(statement.columns[:told])
        shown = found[: query.limit]
        return RecordPage(
            items=tuple(encode(row[_HEAD : _HEAD + told]) for row in shown),
            end=_place(model, query, statement.columns, shown[-1]) if len(found) > len(shown) else None,
        )

    def one(
        self,
        model: ModelShape,
        key: Sequence[str],
        fields: Sequence[str] | None = None,
        *,
        customer: str,
        routed_at: int,
    ) -> str | None:
        _require(customer)
        wanted = None if fields is None else tuple(fields)
        known = self._ones.get((model.id, wanted))
        if known is None or known.model is not model:
            known = self._prepare_one(model, wanted)
        binds = Binds(self._connections.dialect)
        bind_key(binds, model, key, customer=customer)
        rows = self._connections.fetch(known.sql, binds.values, customer=customer, prepare=True)
        _check_moved(rows, routed_at)
        row = rows[0]
        return None if row[1] is None else known.encode(row[_HEAD:])

    def _prepare_one(self, model: ModelShape, fields: tuple[str, ...] | None) -> _One:
        columns = record_columns(model)
        told = tuple(columns.values()) if fields is None else tuple(columns[name] for name in fields)
        sql = select_one(self._connections.dialect, model, told)
        if len(self._ones) >= _MOST_STATEMENTS:
            self._ones.clear()
        made = self._ones[model.id, fields] = _One(model, sql, object_encoder(told))
        return made

    def close(self) -> None:
        self._connections.close()


_MOST_STATEMENTS = 200


def _require(customer: str) -> None:
    """Fails closed: no read without a customer finds anybody's rows."""
    if not customer:
        raise InvariantError("a read of records names no customer")


def _check_moved(rows: Sequence[Sequence[Any]], routed_at: int) -> None:
    moved = rows[0][0]
    if moved is not None and moved > routed_at:
        raise RouteMovedError(moved)


def _place(model: ModelShape, query: RecordQuery, columns: Sequence[Column], row: Sequence[Any]) -> Place:
    texts = {
        column.name: text_of(value, column.type) for column, value in zip(columns, row[_HEAD:], strict=True)
    }
    return Place(
        values=tuple(texts[sort.column] for sort in query.sort),
        key=tuple(texts[column.name] or "" for column in model.key),
    )
