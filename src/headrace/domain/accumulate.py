"""What a property is, given the rows behind a record: the aggregations and filters row by row, as
docs/configuration.md says them.

Only verification uses this. It shares nothing with the SQL of the stores, or it would repeat their mistakes.
Values are canonical: int, float, str (decimals, dates, date-times, JSON), bool, None; rows come by key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from typing import Any, Final

from headrace.domain.shape import FilterClause, PropertyShape
from headrace.domain.vocabulary import TEXT_TYPES, Aggregation, FilterOp, PropertyType

Row = Mapping[str, Any]
_Take = Callable[[Any, Row], None]
_Way = tuple[_Take, Callable[[], Any]]
"""What is done with each row's value, and how the property is made of it at the end."""
_EXACT: Final = Context(prec=1_000_000, Emax=MAX_EMAX, Emin=MIN_EMIN)
_TENTH_DECIMAL: Final = Decimal("1e-10")
_INT64: Final = range(-(2**63), 2**63)
_LARGE: Final = 1e290
"""Floats beyond this are added exactly: a sum of others cannot overflow."""
_GREATEST: Final = Decimal("1.797693134862315807e308")
_NUMBERS: Final = frozenset({PropertyType.INTEGER, PropertyType.DECIMAL, PropertyType.FLOAT})


class Accumulator:
    """One property of one record: given the rows behind it one by one, by key, then asked once."""

    def __init__(self, shape: PropertyShape, types: Mapping[str, PropertyType]) -> None:
        self._shape = shape
        self._types = types
        self._type = PropertyType.INTEGER if shape.column is None else types[shape.column]
        self._take, self._value = self._way()
        self._rows = 0
        self._number: Any = None
        self._large: Decimal | None = None
        self._seen: set[Any] = set()
        self._items: list[Any] = []
        self._best: tuple[Any, ...] | None = None

    def add(self, row: Row) -> None:
        """The next row by key; one that the filters leave out is none."""
        if all(any(_holds(clause, self._types, row) for clause in group) for group in self._shape.filters):
            value = None if self._shape.column is None else row[self._shape.column]
            self._take(value, row)

    def value(self) -> Any:
        """The property, in its type."""
        return self._value()

    def _way(self) -> _Way:
        match self._shape.aggregation:
            case Aggregation.COUNT:
                return self._counting()
            case Aggregation.COUNT_DISTINCT:
                return self._distinct()
            case Aggregation.SUM:
                return self._sum()
            case Aggregation.AVERAGE:
                return self._average()
            case Aggregation.MIN | Aggregation.MAX:
                return self._extreme()
            case Aggregation.MOST_RECENT | Aggregation.LEAST_RECENT:
                return self._recent()
            case Aggregation.LIST:
                return self._list()
            case _:
                return self._first()

    # --- counts ---------------------------------------------------------------------------------

    def _counting(self) -> _Way:
        def take(value: Any, _row: Row) -> None:
            self._rows += value is not None or self._shape.column is None

        return take, lambda: _number(Decimal(self._rows), self._shape.type)

    def _distinct(self) -> _Way:
        def take(value: Any, _row: Row) -> None:
            if value is not None:
                self._seen.add(value)

        return take, lambda: _number(Decimal(len(self._seen)), self._shape.type)

    # --- sums -----------------------------------------------------------------------------------

    def _sum(self) -> _Way:
        def value() -> Any:
            total = Decimal(0) if not self._rows else self._total()
            return None if total is None else _number(total, self._shape.type)

        return self._add, value

    def _average(self) -> _Way:
        def value() -> Any:
            total = self._total() if self._rows else None
            if total is None:
                return None
            if self._type is PropertyType.FLOAT:
                rounded = _rounded_float(float(total) / self._rows)
            else:
                rounded = _rounded(Fraction(total) / self._rows)
            return _number(rounded, self._shape.type)

        return self._add, value

    def _add(self, value: Any, _row: Row) -> None:
        if value is None:
            return
        self._rows += 1
        if self._type is PropertyType.INTEGER:
            self._number = (self._number or 0) + value
        elif self._type is PropertyType.DECIMAL:
            self._number = _EXACT.add(self._number or Decimal(0), Decimal(value))
        elif abs(value) > _LARGE:
            self._large = _EXACT.add(self._large or Decimal(0), Decimal(repr(value)))
        else:
            self._number = (self._number or 0.0) + value

    def _total(self) -> Decimal | None:
        """Floats as the shortest text of their sum says; None where no float holds it."""
        if self._type is not PropertyType.FLOAT:
            return Decimal(self._number)
        small = Decimal(repr(self._number or 0.0))
        if self._large is None:
            return small
        exact = _EXACT.add(self._large, small)
        return Decimal(repr(float(exact))) if exact.copy_abs() <= _GREATEST else None

    # --- one of the rows ------------------------------------------------------------------------

    def _extreme(self) -> _Way:
        wants_less = self._shape.aggregation is Aggregation.MIN

        def take(value: Any, _row: Row) -> None:
            if value is None:
                return
            order = ordered(self._type, value)
            if self._best is None or (order < self._best[0] if wants_less else order > self._best[0]):
                self._best = (order, value)

        return take, self._chosen

    def _first(self) -> _Way:
        def take(value: Any, _row: Row) -> None:
            if self._best is None:
                self._best = (None, value)

        return take, self._chosen

    def _recent(self) -> _Way:
        """Rows come by key: of equal ones the later has the greater key."""
        order_by = str(self._shape.order_by)
        latest = self._shape.aggregation is Aggregation.MOST_RECENT

        def take(value: Any, row: Row) -> None:
            order = ordered(self._types[order_by], row[order_by])
            if self._best is None or _is_better(order, self._best[0], latest=latest):
                self._best = (order, value)

        return take, self._chosen

    def _chosen(self) -> Any:
        return None if self._best is None else _converted(self._best[1], self._type, self._shape.type)

    # --- all of them ----------------------------------------------------------------------------

    def _list(self) -> _Way:
        def take(value: Any, _row: Row) -> None:
            is_json = self._type is PropertyType.JSON and value is not None
            self._items.append(json.loads(value) if is_json else value)

        return take, lambda: canonical(self._items)


def ordered(type_: PropertyType, value: Any) -> Any:
    """What compares as values of the type do; None stays None. Code points order as UTF-8's bytes do."""
    return Decimal(value) if type_ is PropertyType.DECIMAL and value is not None else value


def canonical(value: Any) -> str:
    """The one JSON text of a value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _is_better(one: Any, best: Any, *, latest: bool) -> bool:
    """Nulls lose; ties go to the later row (the greater key), for least_recent to the earlier."""
    if one is None or best is None:
        return (best is None) and (one is not None or latest)
    return bool(one >= best) if latest else bool(one < best)


def _rounded(exact: Fraction) -> Decimal:
    """To ten decimals, half away from zero."""
    doubled = abs(exact) * 2 * 10**10
    size = (doubled.numerator // doubled.denominator + 1) // 2
    return Decimal(-size if exact < 0 else size).scaleb(-10, _EXACT)


def _rounded_float(quotient: float) -> Decimal:
    return Decimal(repr(quotient)).quantize(_TENTH_DECIMAL, ROUND_HALF_UP, _EXACT)


def _converted(value: Any, type_: PropertyType, to: PropertyType) -> Any:
    """A value of one row as the property's type."""
    if value is None or type_ is to:
        return value
    if type_ in _NUMBERS:
        return _number(Decimal(repr(value) if isinstance(value, float) else value), to)
    if type_ is PropertyType.BOOLEAN and to in TEXT_TYPES:
        return "true" if value else "false"
    return value


def _number(exact: Decimal, to: PropertyType) -> Any:
    """A number as the type `to`; None where an integer does not hold it."""
    match to:
        case PropertyType.INTEGER:
            is_whole = exact == exact.to_integral_value() and abs(exact) < 2**64
            return int(exact) if is_whole and int(exact) in _INT64 else None
        case PropertyType.FLOAT:
            return float(exact)
    text = format(exact, "f") if exact else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


_COMPARISONS: Final[Mapping[FilterOp, Callable[[Any, Any], bool]]] = {
    FilterOp.EQ: lambda one, other: bool(one == other),
    FilterOp.NE: lambda one, other: bool(one != other),
    FilterOp.GT: lambda one, other: bool(one > other),
    FilterOp.GTE: lambda one, other: bool(one >= other),
    FilterOp.LT: lambda one, other: bool(one < other),
    FilterOp.LTE: lambda one, other: bool(one <= other),
}


def _holds(clause: FilterClause, types: Mapping[str, PropertyType], row: Row) -> bool:
    value, type_ = row[clause.column], types[clause.column]
    if clause.op in (FilterOp.EXISTS, FilterOp.NOT_EXISTS):
        return (value is not None) is (clause.op is FilterOp.EXISTS)
    if value is None:
        return False
    if clause.op in (FilterOp.CONTAINS, FilterOp.NOT_CONTAINS, FilterOp.STARTS_WITH):
        return _holds_text(clause, _text(value))
    mine, theirs = ordered(type_, value), [_given(text, type_) for text in clause.values]
    if clause.op in (FilterOp.IN, FilterOp.NOT_IN):
        return (mine in theirs) is (clause.op is FilterOp.IN)
    return _COMPARISONS[clause.op](mine, theirs[0])


def _holds_text(clause: FilterClause, text: str) -> bool:
    part = clause.values[0]
    if clause.op is FilterOp.STARTS_WITH:
        return text.startswith(part)
    return (part in text) is (clause.op is FilterOp.CONTAINS)


def _given(text: str, type_: PropertyType) -> Any:
    """A filter's value, from its canonical text."""
    match type_:
        case PropertyType.BOOLEAN:
            return text == "true"
        case PropertyType.INTEGER:
            return int(text)
        case PropertyType.FLOAT:
            return float(text)
        case PropertyType.DECIMAL:
            return Decimal(text)
        case _:
            return text


def _text(value: Any) -> str:
    """The canonical text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def least_invalid(entries: Sequence[tuple[str, Sequence[str]]]) -> dict[str, Any]:
    """Of the entries behind each property the one whose canonical text is least.

    Args:
        entries: by property, the canonical JSON of the entry of each row that has one.
    """
    return {name: json.loads(min(texts)) for name, texts in entries if texts}
