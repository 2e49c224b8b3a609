"""Composes the COPY of a selection: which rows, in which order, with values cast by the source.

COPY takes no bound parameters, so values are literals quoted by libpq for the connection that runs them;
each is a text that the source casts to the column's own type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from psycopg import sql

from headrace.domain.position import Position
from headrace.ports import Beyond, ExactKeys, KeyRange, NullCursors, ReadPlan, Selection, Since
from headrace.sources.postgres_catalogue import PostgresRelation
from headrace.sources.postgres_cell import guarded
from headrace.sources.postgres_column import BYTEWISE, PostgresColumn


def compose_copy(
    relation: PostgresRelation, plan: ReadPlan, selection: Selection, *, mark: str
) -> sql.Composed:
    """`COPY (SELECT …) TO STDOUT` in CSV, where only null is an empty field without quotes."""
    select = compose_select(relation, plan, selection, mark=mark)
    return sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(select)


def look_at(relation: PostgresRelation, plan: ReadPlan) -> sql.Composed:
    """Reads no row: tells the columns, and keeps them as they are until the transaction's end."""
    columns = sql.SQL(", ").join(_identifier(name) for name in plan.columns)
    return sql.SQL("SELECT {} FROM {} AS q LIMIT 0").format(columns, relation.source)


def compose_nothing_after(relation: PostgresRelation, plan: ReadPlan, after: Position) -> sql.Composed:
    """Tells whether no row lies after the position, however far, and none outside the order of cursors."""
    select = _Select(relation, plan, "")
    return sql.SQL(
        "SELECT NOT EXISTS (SELECT FROM {source} AS q WHERE {after})"
        " AND NOT EXISTS (SELECT FROM {source} AS q WHERE {undated})"
    ).format(
        source=relation.source,
        after=sql.SQL(" AND ").join(select.since(Since(after, None))),
        undated=select.undated(),
    )


def compose_select(
    relation: PostgresRelation, plan: ReadPlan, selection: Selection, *, mark: str
) -> sql.Composed:
    """
    Args:
        mark: what oversized cells are shown with (see `postgres_cell`).
    """
    select = _Select(relation, plan, mark)
    limit: sql.Composable = sql.SQL("")
    match selection:
        case Since():
            where, order = select.since(selection), select.by_cursor()
        case NullCursors():
            where, order = [select.undated()], select.by_key()
        case Beyond(until=until):
            where, order = [select.compare_cursor(">", until)], select.by_key()
        case KeyRange(after=after, upto=upto):
            where, order = select.between(after, upto), select.by_portable_key()
            if selection.limit is not None:
                limit = sql.SQL(" LIMIT {}").format(sql.Literal(selection.limit))
        case ExactKeys(keys=keys):
            where, order = [select.one_of(keys)], select.by_key()
        case _:
            assert_never(selection)
    condition = sql.SQL(" AND ").join(where) if where else sql.SQL("true")
    return sql.SQL("SELECT {} FROM {} AS q WHERE {} ORDER BY {}{}").format(
        select.output(), relation.source, condition, sql.SQL(", ").join(order), limit
    )


class _Select:
    """The pieces of one plan's statements."""

    def __init__(self, relation: PostgresRelation, plan: ReadPlan, mark: str) -> None:
        self._relation = relation
        self._plan = plan
        self._mark = mark
        self._key = [relation.column(name) for name in plan.key]

    def output(self) -> sql.Composable:
        return sql.SQL(", ").join(self._shown(name) for name in self._plan.columns)

    def _shown(self, name: str) -> sql.Composable:
        column = self._relation.column(name)
        if column.base == "money":  # its text depends on lc_monetary
            return sql.SQL("CAST({} AS numeric)").format(_identifier(name))
        limit = self._plan.max_cell_bytes
        if column.longest is not None and column.longest <= limit:
            return _identifier(name)
        return guarded(_identifier(name), column.base, limit=limit, mark=self._mark)

    def cursor(self) -> sql.Composable:
        return _identifier(self._cursor_column().facts.name)

    def _cursor_column(self) -> PostgresColumn:
        assert self._plan.cursor is not None, "a selection by cursor needs a plan with one"  # noqa: S101
        return self._relation.column(self._plan.cursor)

    def undated(self) -> sql.Composable:
        """-infinity is a date that never comes, and sorts below every watermark."""
        if self._cursor_column().base not in {"date", "timestamp", "timestamptz"}:
            return sql.SQL("{} IS NULL").format(self.cursor())
        return sql.SQL("({0} IS NULL OR {0} = '-infinity')").format(self.cursor())

    def by_key(self) -> list[sql.Composable]:
        return [_identifier(name) for name in self._plan.key]

    def by_cursor(self) -> list[sql.Composable]:
        return [self.cursor(), *(k for k in self.by_key() if k != self.cursor())]

    def by_portable_key(self) -> list[sql.Composable]:
        return [_portable(column) for column in self._key]

    def compare_cursor(self, operator: str, text: str) -> sql.Composable:
        value = cast_text(text, self._cursor_column(), zone=None)
        return sql.SQL("{} {} {}").format(self.cursor(), sql.SQL(operator), value)

    def since(self, selection: Since) -> list[sql.Composable]:
        # Row values, so that an index on (cursor, key) serves both the bound and the order
        # (tests/integration/test_postgres_reading.py).
        where: list[sql.Composable] = (
            [] if selection.after else [sql.SQL("{} IS NOT NULL").format(self.cursor())]
        )
        if selection.after is not None and selection.after.key is None:
            where.append(self.compare_cursor(">=", selection.after.cursor))
        elif selection.after is not None and selection.after.key is not None:
            columns = [self._cursor_column(), *self._key]
            texts = (selection.after.cursor, *selection.after.key)
            where.append(_compare_rows([_identifier(c.facts.name) for c in columns], ">", columns, texts))
        if selection.until is not None:
            where.append(self.compare_cursor("<=", selection.until))
        return where

    def between(self, after: tuple[str, ...] | None, upto: tuple[str, ...] | None) -> list[sql.Composable]:
        left = self.by_portable_key()
        bounds = ((">", after), ("<=", upto))
        zone = self._plan.time_zone
        return [_compare_rows(left, op, self._key, texts, zone=zone) for op, texts in bounds if texts]

    def one_of(self, keys: Sequence[tuple[str, ...]]) -> sql.Composable:
        arrays = [
            cast_texts([key[at] for key in keys], column, zone=self._plan.time_zone)
            for at, column in enumerate(self._key)
        ]
        return sql.SQL("({}) IN (SELECT * FROM unnest({}))").format(
            sql.SQL(", ").join(self.by_key()), sql.SQL(", ").join(arrays)
        )


def _compare_rows(
    left: Sequence[sql.Composable],
    operator: str,
    columns: Sequence[PostgresColumn],
    texts: Sequence[str],
    *,
    zone: str | None = None,
) -> sql.Composable:
    right = [cast_text(text, column, zone=zone) for text, column in zip(texts, columns, strict=True)]
    return sql.SQL("({}) {} ({})").format(
        sql.SQL(", ").join(left),
        sql.SQL(operator),
        sql.SQL(", ").join(right),
    )


def cast_text(text: str, column: PostgresColumn, *, zone: str | None) -> sql.Composable:
    """The column's value with this text. With a zone, a canonical date-time (it ends in Z) becomes the
    naive one that the column holds."""
    if zone is not None and column.base == "timestamp" and text.endswith("Z"):
        return sql.SQL("(CAST({} AS timestamptz) AT TIME ZONE {})").format(
            sql.Literal(text), sql.Literal(zone)
        )
    return sql.SQL("CAST({} AS {})").format(sql.Literal(text), sql.SQL(column.cast))


def cast_texts(texts: list[str], column: PostgresColumn, *, zone: str) -> sql.Composable:
    """An array of the column's values with these texts."""
    if column.base == "timestamp" and any(text.endswith("Z") for text in texts):
        values = [cast_text(text, column, zone=zone) for text in texts]
        return sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(values))
    return sql.SQL("CAST(CAST({} AS text[]) AS {}[])").format(sql.Literal(texts), sql.SQL(column.cast))


def _identifier(name: str) -> sql.Composable:
    return sql.Identifier("q", name)


def _portable(column: PostgresColumn) -> sql.Composable:
    quoted = _identifier(column.facts.name)
    if column.base in BYTEWISE:
        return sql.SQL('{} COLLATE "C"').format(quoted)
    return quoted
