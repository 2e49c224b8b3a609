"""What records must be, computed row by row as docs/configuration.md says; shares no code with stores."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from typing import Any

from headrace.domain.shape import FilterClause, ModelShape, PropertyShape, SourceShape

Row = dict[str, Any]
_EXACT = Context(prec=400)


class Oracle:
    """The rows of each source as a serial replay leaves them."""

    def __init__(self, model: ModelShape) -> None:
        self._model = model
        self._rows: dict[str, dict[tuple[Any, ...], Row]] = {s.id: {} for s in model.sources}

    def apply(self, source: SourceShape, rows: Sequence[Row]) -> None:
        for row in rows:
            key = tuple(row[c.name] for c in source.key)
            self._rows[source.id].pop(key, None)
            if not row.get("_deleted"):
                self._rows[source.id][key] = row

    def records(self) -> dict[tuple[Any, ...], Row]:
        """By customer and key."""
        found = {}
        for key, row in self._rows[self._model.primary.id].items():
            record = {c.name: row.get(c.name) for c in self._model.primary.columns}
            invalid = dict(row.get("_invalid") or {})
            for source in self._model.sources[1:]:
                behind = self._behind(source, row["_customer_id"], record)
                for shape in source.properties:
                    record[shape.name] = value_of(source, shape, behind)
                    entries = [
                        r["_invalid"][shape.column]
                        for r in behind
                        if shape.column in (r.get("_invalid") or {})
                    ]
                    if entries:
                        invalid[shape.name] = min(entries, key=lambda e: (e["reason"], e["value"]))
            record["_invalid"] = invalid or None
            found[row["_customer_id"], *key] = record
        return found

    def _behind(self, source: SourceShape, customer: str, record: Row) -> list[Row]:
        assert source.mapping is not None
        wanted = record[source.mapping.property]
        if wanted is None:
            return []
        rows = [
            r
            for r in self._rows[source.id].values()
            if r["_customer_id"] == customer and r.get(source.mapping.column) == wanted
        ]
        types = {c.name: c.type.value for c in source.columns}
        return sorted(rows, key=lambda r: [ordered(types[c.name], r[c.name]) for c in source.key])


def ordered(type_: str, value: Any) -> Any:
    """The value as it compares: decimals by value, texts by their bytes."""
    if type_ == "decimal":
        return Decimal(value)
    return value.encode() if isinstance(value, str) else value


def value_of(source: SourceShape, shape: PropertyShape, behind: Sequence[Row]) -> Any:
    types = {c.name: c.type.value for c in source.columns}
    rows = [r for r in behind if all(any(_holds(c, types, r) for c in g) for g in shape.filters)]
    if shape.column is None:
        return len(rows)
    type_ = types[shape.column]
    values = [r.get(shape.column) for r in rows]
    known = [v for v in values if v is not None]
    match shape.aggregation:
        case "count":
            return len(known)
        case "count_distinct":
            return len(set(known))
        case "sum":
            return _total(type_, known)
        case "average":
            return _average(type_, known) if known else None
        case "min" | "max":
            pick = min if shape.aggregation == "min" else max
            return pick(known, key=lambda v: ordered(type_, v)) if known else None
        case "list":
            return _dumps([_listed(type_, v) for v in values])
        case "most_recent" | "least_recent":
            return _recent(shape, rows)
        case _:
            return values[0] if values else None


def _recent(shape: PropertyShape, rows: Sequence[Row]) -> Any:
    """Rows come by key; null order values lose; ties go to the greatest key, or the least."""
    dated = [r for r in rows if r.get(shape.order_by or "") is not None] or list(rows)
    if not dated:
        return None
    best = dated[0]
    for row in dated[1:]:
        one, other = row.get(shape.order_by or ""), best.get(shape.order_by or "")
        if shape.aggregation == "most_recent" and (one is None or one >= other):
            best = row
        if shape.aggregation == "least_recent" and one is not None and one < other:
            best = row
    return best.get(shape.column or "")


def _total(type_: str, known: Sequence[Any]) -> Any:
    if type_ == "integer":
        total = sum(known)
        return total if -(2**63) <= total < 2**63 else None
    if type_ == "decimal":
        exact = Decimal(0)
        for value in known:
            exact = _EXACT.add(exact, Decimal(value))
        return plain(exact)
    running = 0.0
    for value in known:
        running = running + value
    return running


def _average(type_: str, known: Sequence[Any]) -> Any:
    if type_ == "float":
        quotient = _total("float", known) / len(known)
        return float(Decimal(repr(quotient)).quantize(Decimal("1e-10"), ROUND_HALF_UP, _EXACT))
    exact = sum((Fraction(v) for v in known), Fraction(0)) / len(known)
    doubled = abs(exact) * 10**10 * 2
    rounded = (doubled.numerator // doubled.denominator + 1) // 2
    return plain(Decimal(-rounded if exact < 0 else rounded).scaleb(-10, _EXACT))


def plain(number: Decimal) -> str:
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _listed(type_: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    if isinstance(value, date):
        return value.isoformat()
    return json.loads(value) if type_ == "json" and value is not None else value


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "contains": lambda a, b: b in a,
    "not_contains": lambda a, b: b not in a,
    "starts_with": lambda a, b: a.startswith(b),
}


def _holds(clause: FilterClause, types: dict[str, str], row: Row) -> bool:
    value, type_ = row.get(clause.column), types[clause.column]
    if clause.op in ("exists", "not_exists"):
        return (value is not None) == (clause.op == "exists")
    if value is None:
        return False
    mine = ordered(type_, value)
    theirs = [ordered(type_, _read(type_, text)) for text in clause.values]
    if clause.op in ("in", "not_in"):
        return (mine in theirs) == (clause.op == "in")
    return _OPERATORS[clause.op](mine, theirs[0])


def _read(type_: str, text: str) -> Any:
    match type_:
        case "boolean":
            return text == "true"
        case "integer":
            return int(text)
        case "float":
            return float(text)
        case "date":
            return date.fromisoformat(text)
        case "datetime":
            return datetime.fromisoformat(text)
        case _:
            return text
