"""Filters as SQL, with one meaning on both dialects: what is null matches only `not_exists`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from headrace.domain.shape import Column, FilterClause, PropertyShape
from headrace.domain.vocabulary import FilterOp
from headrace.stores.dialect import Binds

_COMPARISONS: Final[Mapping[FilterOp, str]] = {
    FilterOp.EQ: "=",
    FilterOp.NE: "<>",
    FilterOp.GT: ">",
    FilterOp.GTE: ">=",
    FilterOp.LT: "<",
    FilterOp.LTE: "<=",
}


def filter_sql(
    binds: Binds, shape: PropertyShape, columns: Mapping[str, Column], refer: Callable[[str], str]
) -> list[str]:
    """One condition for each ANDed group of the property's filters; `refer` writes a column."""
    return [
        "(" + " OR ".join(clause_sql(binds, columns[c.column], c, refer(c.column)) for c in group) + ")"
        for group in shape.filters
    ]


def clause_sql(binds: Binds, column: Column, clause: FilterClause, written: str) -> str:
    """One comparison of a column, which is `written` so."""
    dialect = binds.dialect
    value = dialect.comparable(written, column.type)
    if clause.op in _COMPARISONS:
        return f"{value} {_COMPARISONS[clause.op]} {binds.typed(clause.values[0], column.type)}"
    match clause.op:
        case FilterOp.EXISTS:
            return f"{written} IS NOT NULL"
        case FilterOp.NOT_EXISTS:
            return f"{written} IS NULL"
        case FilterOp.IN | FilterOp.NOT_IN:
            listed = ", ".join(binds.typed(v, column.type) for v in clause.values)
            return f"{value} {'NOT ' if clause.op is FilterOp.NOT_IN else ''}IN ({listed})"
    text = dialect.canonical_text(written, column.type)
    part = binds.text(clause.values[0])
    match clause.op:
        case FilterOp.CONTAINS:
            return f"{dialect.position(text, part)} > 0"
        case FilterOp.NOT_CONTAINS:
            return f"{dialect.position(text, part)} = 0"
        case _:
            return dialect.starts_with(text, part)
