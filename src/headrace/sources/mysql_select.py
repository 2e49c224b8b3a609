"""Composes the SELECT of a selection: which rows, in which order.

Values are literals, each a text that was checked to be one of the column's type. Texts are compared as bytes
wherever their collation could take two of them for one: else a row would be skipped, or another's be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from headrace.ports import Beyond, ExactKeys, KeyRange, NullCursors, ReadPlan, Selection, Since
from headrace.sources.mysql_catalogue import MysqlRelation
from headrace.sources.mysql_cell import shown
from headrace.sources.mysql_column import TEXTS, MysqlColumn, bytes_literal, literal

_NOTHING = "FALSE"


def compose_select(relation: MysqlRelation, plan: ReadPlan, selection: Selection, *, mark: str) -> str:
    """
    Args:
        mark: what oversized cells are shown with (see `mysql_cell`).
    """
    select = _Select(relation, plan, tiling=_is_tile(selection))
    limit = ""
    match selection:
        case Since():
            where, order = select.since(selection), [select.cursor, *select.key]
        case NullCursors():
            where, order = [select.null_cursor()], select.key
        case Beyond(until=until):
            where, order = [select.cursor.compare(">", until)], select.key
        case KeyRange(after=after, upto=upto):
            where, order = select.between(after, upto), select.key
            limit = "" if selection.limit is None else f" LIMIT {selection.limit:d}"
        case ExactKeys(keys=keys):
            where, order = select.one_of(keys), select.key
        case _:
            assert_never(selection)
    cells = [shown(relation.column(name), limit=plan.max_cell_bytes, mark=mark) for name in plan.columns]
    ordered = ", ".join(dict.fromkeys(term.sql for term in order))
    return (
        f"SELECT {', '.join(cells)} FROM {relation.source} AS q"
        f" WHERE {' AND '.join(where) or 'TRUE'} ORDER BY {ordered}{limit}"
    )


def _is_tile(selection: Selection) -> bool:
    """Other statements read the rows before and after, by bounds that are compared bytewise."""
    return isinstance(selection, KeyRange) and selection != KeyRange(None, None, None)


@dataclass(frozen=True, slots=True)
class _Term:
    """Something that rows are ordered and compared by."""

    sql: str
    literal: Callable[[str], str]

    def compare(self, operator: str, text: str) -> str:
        return f"{self.sql} {operator} {self.literal(text)}"


class _Select:
    """The pieces of one plan's statements."""

    def __init__(self, relation: MysqlRelation, plan: ReadPlan, *, tiling: bool) -> None:
        self._plan = plan
        self._cursor = relation.column(plan.cursor) if plan.cursor else None
        self._columns = [relation.column(name) for name in plan.key]
        unique = relation.facts.identifies(plan.key)
        # Where the server itself keeps keys apart by their collation, that order has no ties.
        self.key = [
            self._bytes(column) if not column.bytewise and (tiling or not unique or column.kind != "text")
            else self._plain(column)
            for column in self._columns
        ]  # fmt: skip

    @property
    def cursor(self) -> _Term:
        assert self._cursor is not None, "a selection by cursor needs a plan with one"  # noqa: S101
        return self._plain(self._cursor) if self._cursor.bytewise else self._bytes(self._cursor)

    def _plain(self, column: MysqlColumn) -> _Term:
        return _Term(column.plain, lambda text: literal(column, text, zone=self._plan.time_zone))

    def _bytes(self, column: MysqlColumn) -> _Term:
        return _Term(column.as_bytes, bytes_literal)

    def null_cursor(self) -> str:
        # Not IS NULL: of a column that is not nullable it would find the zero dates.
        assert self._cursor is not None, "a selection by cursor needs a plan with one"  # noqa: S101
        return f"{self._cursor.plain} <=> NULL" if self._cursor.facts.nullable else _NOTHING

    def since(self, selection: Since) -> list[str]:
        # The first part bounds the index on (cursor, key); a comparison of row values would not.
        where = []
        after = selection.after
        if after is None:
            where.append(f"{self.cursor.sql} IS NOT NULL")
        else:
            where.append(self.cursor.compare(">=", after.cursor))
            if after.key is not None:
                where.append(_beyond([self.cursor, *self.key], (after.cursor, *after.key)))
        if selection.until is not None:
            where.append(self.cursor.compare("<=", selection.until))
        return where

    def between(self, after: tuple[str, ...] | None, upto: tuple[str, ...] | None) -> list[str]:
        where = []
        if after is not None:
            where += [self.key[0].compare(">=", after[0]), _beyond(self.key, after)]
        if upto is not None:
            where += [self.key[0].compare("<=", upto[0]), _up_to(self.key, upto)]
        return where

    def one_of(self, keys: Sequence[tuple[str, ...]]) -> list[str]:
        """By the column's own comparison, which an index serves, and then by what a text really is."""
        possible = list(dict.fromkeys(self._possible(keys)))
        if not possible:
            return [_NOTHING]
        plain = [self._plain(c) for c in self._columns]
        exact = [self._plain(c) if c.bytewise else self._bytes(c) for c in self._columns]
        indexed = all(c.kind not in TEXTS or c.charset for c in self._columns)
        where = [_in(plain, possible)] if indexed else []
        if not all(c.bytewise for c in self._columns):
            where.append(_in(exact, possible))
        return where

    def _possible(self, keys: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
        """The keys whose every part can be a value of its column: the others are in no row."""
        for key in keys:
            try:
                for column, text in zip(self._columns, key, strict=True):
                    literal(column, text, zone=self._plan.time_zone)
            except ValueError:
                continue
            yield key


def _beyond(terms: Sequence[_Term], texts: Sequence[str]) -> str:
    """(terms) > (texts), part by part."""
    first = terms[0].compare(">", texts[0])
    if len(terms) == 1:
        return first
    return f"({first} OR ({terms[0].compare('=', texts[0])} AND {_beyond(terms[1:], texts[1:])}))"


def _up_to(terms: Sequence[_Term], texts: Sequence[str]) -> str:
    """(terms) <= (texts), part by part."""
    if len(terms) == 1:
        return terms[0].compare("<=", texts[0])
    first, same = terms[0].compare("<", texts[0]), terms[0].compare("=", texts[0])
    return f"({first} OR ({same} AND {_up_to(terms[1:], texts[1:])}))"


def _in(terms: Sequence[_Term], keys: Sequence[tuple[str, ...]]) -> str:
    values = [", ".join(term.literal(text) for term, text in zip(terms, key, strict=True)) for key in keys]
    if len(terms) == 1:
        return f"{terms[0].sql} IN ({', '.join(values)})"
    listed = ", ".join(f"({value})" for value in values)
    return f"({', '.join(term.sql for term in terms)}) IN ({listed})"
