"""The one statement of each read of records: the mark of a move, and beside it what was asked for.

The mark comes in a row of its own, to which the records are joined: it is read though there are none, and in
their snapshot. The inner select is served by the records' primary key, which begins with the customer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.domain.record_query import Place, RecordQuery, Sort, order_of
from headrace.domain.shape import Column, ModelShape
from headrace.domain.vocabulary import CUSTOMER, PropertyType
from headrace.stores.dialect import Binds, Dialect
from headrace.stores.filter_sql import clause_sql
from headrace.stores.layout import MOVED

AS_TEXT: Final = frozenset(
    {PropertyType.DECIMAL, PropertyType.DATE, PropertyType.DATETIME, PropertyType.JSON}
)
"""What the database writes as a text, so that no driver's type stands between."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A read as SQL. Its rows are the mark's epoch (or null), the customer (null: no record), `columns`."""

    sql: str
    binds: Binds
    columns: tuple[Column, ...]


def select_page(
    dialect: Dialect, model: ModelShape, query: RecordQuery, columns: Mapping[str, Column], *, customer: str
) -> Statement:
    """One record more than the page holds, so that whoever asks knows whether there are more.

    Args:
        columns: by name, all that can be filtered, sorted by or told (`record_columns`).
    """
    binds = Binds(dialect)
    order = order_of(model, query)
    told = _told(columns, query.fields)
    needed = tuple(dict.fromkeys([*told, *(columns[sort.column] for sort in order)]))
    q = dialect.quote
    conditions = [f"r.{q(CUSTOMER)} = {binds.text(customer)}"]
    conditions += [
        clause_sql(binds, columns[clause.column], clause, f"r.{q(clause.column)}") for clause in query.filters
    ]
    if query.after is not None:
        conditions.append(_after(binds, model, order, columns, query.after))
    ordered = _ordered(dialect, order, columns, model)
    inner = (
        f"SELECT {_inner_columns(dialect, needed)} FROM {dialect.table(model.id)} AS r"
        f" WHERE {' AND '.join(conditions)} ORDER BY {ordered} LIMIT {binds.add(query.limit + 1)}"
    )
    # Again outside: nothing promises that a join keeps the order.
    sql = f"{_joined(dialect, needed, inner, binds.text(customer))} ORDER BY {ordered}"
    return Statement(sql, binds, needed)


def select_one(dialect: Dialect, model: ModelShape, told: Sequence[Column]) -> str:
    """The record of a key: the text depends on model and fields alone, `bind_key` has the values."""
    q = dialect.quote
    mine, parts, marks = bind_key(Binds(dialect), model, [_ANY[c.type] for c in model.key], customer="")
    conditions = [f"r.{q(CUSTOMER)} = {mine}"]
    conditions += [f"r.{q(c.name)} = {part}" for c, part in zip(model.key, parts, strict=True)]
    inner = (
        f"SELECT {_inner_columns(dialect, told)} FROM {dialect.table(model.id)} AS r"
        f" WHERE {' AND '.join(conditions)}"
    )
    return _joined(dialect, told, inner, marks)


def bind_key(
    binds: Binds, model: ModelShape, key: Sequence[str], *, customer: str
) -> tuple[str, list[str], str]:
    """The markers of the customer, of the key's parts, and of the customer of the mark."""
    mine = binds.text(customer)
    parts = [binds.typed(text, column.type) for text, column in zip(key, model.key, strict=True)]
    return mine, parts, binds.text(customer)


_ANY: Final[Mapping[PropertyType, str]] = dict.fromkeys(PropertyType, "") | dict.fromkeys(
    [PropertyType.INTEGER, PropertyType.FLOAT], "0"
)
"""Some text that binds as its type: only the marker is looked at."""


def _told(columns: Mapping[str, Column], fields: Sequence[str] | None) -> tuple[Column, ...]:
    return tuple(columns.values()) if fields is None else tuple(columns[name] for name in fields)


def _inner_columns(dialect: Dialect, columns: Sequence[Column]) -> str:
    return ", ".join(
        f"r.{dialect.quote(name)}" for name in dict.fromkeys([CUSTOMER, *(c.name for c in columns)])
    )


def _joined(dialect: Dialect, columns: Sequence[Column], inner: str, marked: str) -> str:
    """`inner` beside the mark of the customer (`marked`)."""
    q = dialect.quote
    mark = (
        f"(SELECT (SELECT m.{q('epoch')} FROM {dialect.table(MOVED)} AS m"
        f" WHERE m.{q('customer')} = {marked}) AS {q('epoch')}) AS moved"
    )
    told = [
        dialect.canonical_text(f"r.{q(c.name)}", c.type) if c.type in AS_TEXT else f"r.{q(c.name)}"
        for c in columns
    ]
    selected = ", ".join([f"moved.{q('epoch')}", f"r.{q(CUSTOMER)}", *told])
    return f"SELECT {selected} FROM {mark} LEFT JOIN ({inner}) AS r ON 1 = 1"


def _ordered(
    dialect: Dialect, order: Sequence[Sort], columns: Mapping[str, Column], model: ModelShape
) -> str:
    """The key is never null: without the word about nulls its index gives the order."""
    key = {column.name for column in model.key}
    parts = []
    for sort in order:
        value = dialect.comparable(f"r.{dialect.quote(sort.column)}", columns[sort.column].type)
        nulls = "" if sort.column in key else " NULLS LAST"
        parts.append(f"{value}{' DESC' if sort.descending else ''}{nulls}")
    return ", ".join(parts)


def _after(
    binds: Binds, model: ModelShape, order: Sequence[Sort], columns: Mapping[str, Column], place: Place
) -> str:
    """What comes after the place in the order, nulls being last."""
    key = dict(zip((column.name for column in model.key), place.key, strict=True))
    values = [
        *zip(order, place.values, strict=False),
        *((sort, key[sort.column]) for sort in order[len(place.values) :]),
    ]
    if all(sort.column in key and not sort.descending for sort in order):
        return _after_key(binds, values, columns)
    alternatives: list[str] = []
    same: list[str] = []
    for sort, text in values:
        column = columns[sort.column]
        written = f"r.{binds.dialect.quote(sort.column)}"
        value = binds.dialect.comparable(written, column.type)
        if text is not None:
            beyond = f"{value} {'<' if sort.descending else '>'} {binds.typed(text, column.type)}"
            beyond = beyond if sort.column in key else f"({beyond} OR {written} IS NULL)"
            alternatives.append(" AND ".join([*same, beyond]))
        same.append(f"{written} IS NULL" if text is None else f"{value} = {binds.typed(text, column.type)}")
    return f"({' OR '.join(alternatives)})" if alternatives else "1 = 0"


def _after_key(binds: Binds, values: Sequence[tuple[Sort, str | None]], columns: Mapping[str, Column]) -> str:
    """As one comparison of rows, which the key's index serves."""
    dialect = binds.dialect
    mine = ", ".join(
        dialect.comparable(f"r.{dialect.quote(sort.column)}", columns[sort.column].type) for sort, _ in values
    )
    bound = ", ".join(binds.typed(text, columns[sort.column].type) for sort, text in values)
    return f"({mine}) > ({bound})"
