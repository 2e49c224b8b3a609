"""Composes the SELECT of a selection for SQLite, values bound with the type that the column holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from headrace.ports import Beyond, ExactKeys, KeyRange, NullCursors, ReadPlan, Selection, Since
from headrace.sources.sqlite_catalogue import SqliteColumn, SqliteRelation, quoted
from headrace.sources.sqlite_value import Value

Bind = Callable[[str, str], Value]
"""(column name, text) to the value that the column shows so."""


Show = Callable[[SqliteColumn], str]
"""How a column is shown."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A SELECT of at most `limit` rows."""

    select: str
    values: tuple[Value | int, ...] = ()
    limit: int | None = None

    @property
    def sql(self) -> str:
        return self.after(0)

    def after(self, rows: int) -> str:
        """The statement without its first rows: the rest of it, in the same transaction."""
        if self.limit is None and not rows:
            return self.select
        left = -1 if self.limit is None else max(self.limit - rows, 0)
        return f"{self.select} LIMIT {left:d} OFFSET {rows:d}"


@dataclass(frozen=True, slots=True)
class _Condition:
    sql: str
    values: tuple[Value, ...] = ()


def column_sql(name: str) -> str:
    return f"q.{quoted(name)}"


def shown(column: SqliteColumn) -> str:
    """The column's value, bytes as `\\x…` where bytes are usual."""
    name = column_sql(column.facts.name)
    if column.affinity == "none":  # only there are bytes usual; elsewhere they are shown as text
        return f"CASE typeof({name}) WHEN 'blob' THEN '\\x' || lower(hex({name})) ELSE {name} END"
    return name


def compose_select(
    relation: SqliteRelation, plan: ReadPlan, selection: Selection, bind: Bind, show: Show = shown
) -> Statement:
    """ExactKeys expects the table `temp.headrace_keys(k0, k1, …)` to hold the keys."""
    select = _Select(relation, plan, bind)
    limit: int | None = None
    match selection:
        case Since():
            where, order = select.since(selection), [plan.cursor or "", *plan.key]
        case NullCursors():
            where, order = [_Condition(f"{select.cursor()} IS NULL")], [*plan.key]
        case Beyond(until=until):
            where, order = [select.compare_cursor(">", until)], [*plan.key]
        case KeyRange(after=after, upto=upto):
            where, order = select.between(after, upto), [*plan.key]
            limit = selection.limit
        case ExactKeys():
            where, order = [select.one_of()], [*plan.key]
        case _:
            assert_never(selection)
    condition = " AND ".join(part.sql for part in where) or "1"
    ordered = ", ".join(select.ordered(name) for name in dict.fromkeys(order))
    output = ", ".join(show(relation.column(name)) for name in plan.columns)
    return Statement(
        f"SELECT {output} FROM {relation.source} AS q WHERE {condition} ORDER BY {ordered}",
        tuple(value for part in where for value in part.values),
        limit,
    )


class _Select:
    """The pieces of one plan's statements."""

    def __init__(self, relation: SqliteRelation, plan: ReadPlan, bind: Bind) -> None:
        self._relation = relation
        self._plan = plan
        self._bind = bind

    def cursor(self) -> str:
        return self.ordered(self._plan.cursor or "")

    def ordered(self, name: str) -> str:
        # A declared NOCASE would tie keys that differ, and resuming would skip one of them.
        return f"{column_sql(name)} COLLATE BINARY"

    def compare_cursor(self, operator: str, text: str) -> _Condition:
        return _Condition(f"{self.cursor()} {operator} ?", (self._bind(self._plan.cursor or "", text),))

    def since(self, selection: Since) -> list[_Condition]:
        where = [] if selection.after else [_Condition(f"{self.cursor()} IS NOT NULL")]
        if selection.after is not None and selection.after.key is None:
            where.append(self.compare_cursor(">=", selection.after.cursor))
        elif selection.after is not None and selection.after.key is not None:
            names = [self._plan.cursor or "", *self._plan.key]
            where.append(self._compare_rows(">", names, (selection.after.cursor, *selection.after.key)))
        if selection.until is not None:
            where.append(self.compare_cursor("<=", selection.until))
        return where

    def between(self, after: tuple[str, ...] | None, upto: tuple[str, ...] | None) -> list[_Condition]:
        bounds = ((">", after), ("<=", upto))
        return [self._compare_rows(op, self._plan.key, texts) for op, texts in bounds if texts]

    def one_of(self) -> _Condition:
        wanted = ", ".join(f"k{at}" for at in range(len(self._plan.key)))
        key = ", ".join(self.ordered(name) for name in self._plan.key)
        return _Condition(f"({key}) IN (SELECT {wanted} FROM temp.headrace_keys)")

    def _compare_rows(self, operator: str, names: Sequence[str], texts: Sequence[str]) -> _Condition:
        left = ", ".join(self.ordered(name) for name in names)
        marks = ", ".join("?" for _ in names)
        values = tuple(self._bind(name, text) for name, text in zip(names, texts, strict=True))
        return _Condition(f"({left}) {operator} ({marks})", values)
