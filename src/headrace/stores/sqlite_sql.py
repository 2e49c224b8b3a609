"""SQLite's SQL: types, expressions and aggregates; `sqlite_functions` has what it calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from headrace.domain.shape import PropertyShape
from headrace.domain.vocabulary import TEXT_TYPES, Aggregation, PropertyType
from headrace.stores.dialect import Aggregate, Binds

_MEMBERS: Final = 60
_TYPES: Final[Mapping[PropertyType, str]] = {
    PropertyType.BOOLEAN: "INTEGER",
    PropertyType.INTEGER: "INTEGER",
    PropertyType.FLOAT: "REAL",
    PropertyType.DECIMAL: "TEXT",
    **dict.fromkeys(TEXT_TYPES, "TEXT"),
    PropertyType.DATE: "TEXT",
    PropertyType.DATETIME: "TEXT",
    PropertyType.JSON: "TEXT",
}


class SqliteDialect:
    """Collations and functions of ours appear in statements only, never in the schema: a plain
    sqlite3 can open the file."""

    name = "sqlite"
    types = _TYPES
    text = "TEXT"
    json = "TEXT"
    timestamp = "TEXT"
    now = "headrace_now()"
    now_by_default = False  # the function is ours: others could not insert any more
    index_order: tuple[str, ...] = ()
    numbered = "INTEGER PRIMARY KEY AUTOINCREMENT"
    driving_join = "CROSS JOIN"

    def quote(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def table(self, name: str) -> str:
        return f"main.{self.quote(name)}"

    def temp(self, name: str) -> str:
        return f"temp.{self.quote(name)}"

    def create_temp(self, name: str, columns: str) -> str:
        return f"CREATE TEMP TABLE {self.quote(name)} ({columns})"

    def create_index(self, name: str, *, table: str, columns: str) -> str:
        return f"CREATE INDEX main.{self.quote(name)} ON {self.quote(table)} ({columns})"

    def drop_index(self, name: str) -> str:
        return f"DROP INDEX main.{self.quote(name)}"

    def later(self, binds: Binds, seconds: float) -> str:
        return f"headrace_later({binds.add(seconds)})"

    def marker(self, name: str) -> str:
        return f":{name}"

    def typed_marker(self, binds: Binds, text: str | None, type_: PropertyType) -> str:
        return binds.add(None if text is None else _value(text, type_))

    def differs(self, one: str, other: str) -> str:
        return f"{one} IS NOT {other}"

    def comparable(self, expression: str, type_: PropertyType) -> str:
        if type_ is PropertyType.DECIMAL:
            return f"({expression} COLLATE headrace_decimal)"
        return expression

    def delete_joined(self, target: str, *, using: str, on: str) -> str:
        found = f"SELECT r._rowid_ FROM {using} CROSS JOIN {target} AS r ON {on}"
        return f"DELETE FROM {target} WHERE _rowid_ IN ({found})"

    def delete_earlier(self, table: str, columns: Sequence[str]) -> str:
        told_by, name = ", ".join(map(self.quote, columns)), self.table(table)
        last = f"SELECT max(_rowid_) FROM {name} GROUP BY {told_by}"
        return f"DELETE FROM {name} WHERE _rowid_ NOT IN ({last})"

    def canonical_text(self, expression: str, type_: PropertyType) -> str:
        match type_:
            case PropertyType.BOOLEAN:
                return f"CASE {expression} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END"
            case PropertyType.INTEGER:
                return f"CAST({expression} AS TEXT)"
            case PropertyType.FLOAT:
                return f"headrace_float_text({expression})"
            case _:
                return expression

    key_text = canonical_text

    def byte_length(self, text: str) -> str:
        return f"length(CAST({text} AS BLOB))"

    def digest_of_lines(self, line: str) -> str:
        return f"headrace_sha256(COALESCE(group_concat({line}, char(10)), ''))"

    def json_array(self, expressions: Sequence[str]) -> str:
        return f"json_array({', '.join(expressions)})"

    def json_object(self, members: Sequence[tuple[str, str, PropertyType]]) -> str:
        # By parts: a function takes 127 arguments at most.
        parts = []
        for start in range(0, len(members), _MEMBERS):
            pairs = (
                f"{_literal(name)}, {_told(expression, type_)}"
                for name, expression, type_ in members[start : start + _MEMBERS]
            )
            made = f"json_object({', '.join(pairs)})"
            parts.append(f"substr({made}, 2, length({made}) - 2)")
        inner = " || ',' || ".join(parts)
        return f"('{{' || {inner} || '}}')"

    def json_part(self, expression: str, index: int, type_: PropertyType) -> str:
        part = f"json_extract({expression}, '$[{index}]')"
        match type_:
            case PropertyType.BOOLEAN:
                return f"({part} = 'true')"
            case PropertyType.INTEGER:
                return f"CAST({part} AS INTEGER)"
            case PropertyType.FLOAT:
                return f"headrace_float({part})"
            case _:
                return part

    def merged_invalid(self, binds: Binds, *, old: str, names: Sequence[str], new: str) -> str:
        listed = binds.add(json.dumps(list(names)))
        merged = f"headrace_merged_invalid({old}, {new}, {listed})"
        return f"CASE WHEN {old} IS NULL AND {new} IS NULL THEN NULL ELSE {merged} END"

    def invalid_within(self, binds: Binds, invalid: str, names: Sequence[str]) -> str:
        return f"headrace_invalid_within({invalid}, {binds.add(json.dumps(list(names)))})"

    def invalid_of(self, binds: Binds, invalid: str, properties: Sequence[PropertyShape]) -> str:
        columns = binds.add(json.dumps({p.name: p.column for p in properties}))
        return f"headrace_invalid({invalid}, {columns}) FILTER (WHERE {invalid} IS NOT NULL)"

    def position(self, text: str, part: str) -> str:
        return f"instr({text}, {part})"

    def starts_with(self, text: str, part: str) -> str:
        return f"substr({text}, 1, length({part})) = {part}"

    def aggregate(self, aggregate: Aggregate) -> str:
        shape, column, type_ = aggregate.shape, aggregate.column, aggregate.column_type
        when = f"FILTER (WHERE {aggregate.condition})"
        if column is None or type_ is None:
            return _converted(f"count(*) {when}", PropertyType.INTEGER, shape.type)
        match shape.aggregation:
            case Aggregation.COUNT:
                return _converted(f"count({column}) {when}", PropertyType.INTEGER, shape.type)
            case Aggregation.COUNT_DISTINCT:
                counted = f"count(DISTINCT {column}) {when}"
                return _converted(counted, PropertyType.INTEGER, shape.type)
            case Aggregation.SUM:
                return _sum(aggregate, column, type_)
            case Aggregation.AVERAGE:
                return _average(aggregate, column, type_)
            case Aggregation.MIN | Aggregation.MAX:
                function = shape.aggregation.value
                extreme = f"{function}({self.comparable(column, type_)}) {when}"
                return _converted(extreme, type_, shape.type)
            case Aggregation.LIST:
                listed = f"headrace_list('{type_}', {column}, {_order(aggregate)}) {when}"
                return f"COALESCE({listed}, '[]')"
            case Aggregation.MOST_RECENT:
                chosen = f"headrace_greatest({column}, {_order(aggregate)}) {when}"
            case Aggregation.LEAST_RECENT:
                chosen = f"headrace_least_recent({column}, {_order(aggregate)}) {when}"
            case _:
                chosen = f"headrace_least({column}, {_order(aggregate)}) {when}"
        return _converted(chosen, type_, shape.type)


def _value(text: str, type_: PropertyType) -> Any:
    match type_:
        case PropertyType.BOOLEAN:
            return int(text == "true")
        case PropertyType.INTEGER:
            return int(text)
        case PropertyType.FLOAT:
            return float(text)
        case _:
            return text


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _told(expression: str, type_: PropertyType) -> str:
    """A value as `json_object` takes it. Its own text of a float is not exact."""
    match type_:
        case PropertyType.BOOLEAN:
            return f"json({SqliteDialect().canonical_text(expression, type_)})"
        case PropertyType.FLOAT:
            return f"json(headrace_float_text({expression}))"
        case PropertyType.JSON:
            return f"CASE WHEN json_valid({expression}) THEN json({expression}) END"
        case _:
            return expression


def _order(aggregate: Aggregate) -> str:
    """How the parts that order rows compare (d: as decimals), then the parts: order value, then key."""
    parts = [*((aggregate.order_by,) if aggregate.order_by else ()), *aggregate.key]
    kinds = "".join("d" if t is PropertyType.DECIMAL else "-" for _, t in parts)
    return f"'{kinds}', {', '.join(expression for expression, _ in parts)}"


def _halves(column: str, when: str) -> str:
    """Two sums that cannot overflow, from which the exact sum is made."""
    return f"sum({column} >> 32) {when}, sum({column} & 4294967295) {when}"


def _sum(aggregate: Aggregate, column: str, type_: PropertyType) -> str:
    to, when = aggregate.shape.type, f"FILTER (WHERE {aggregate.condition})"
    match type_:
        case PropertyType.INTEGER:
            total = f"COALESCE(headrace_whole({_halves(column, when)}), '0')"
            return f"headrace_number('{to}', {total})"
        case PropertyType.DECIMAL:
            total = f"COALESCE(headrace_sum_decimal({column}) {when}, '0')"
        case _:
            total = f"headrace_sum_float({column}, {_order(aggregate)}) {when}"
            total = f"CASE WHEN count({column}) {when} = 0 THEN 0.0 ELSE {total} END"
    return _converted(total, type_, to)


def _average(aggregate: Aggregate, column: str, type_: PropertyType) -> str:
    to, when = aggregate.shape.type, f"FILTER (WHERE {aggregate.condition})"
    count = f"count({column}) {when}"
    match type_:
        case PropertyType.INTEGER:
            total = f"headrace_whole({_halves(column, when)})"
        case PropertyType.DECIMAL:
            total = f"headrace_sum_decimal({column}) {when}"
        case _:
            total = f"headrace_sum_float({column}, {_order(aggregate)}) {when}"
    return f"headrace_number('{to}', headrace_average({total}, {count}))"


def _converted(expression: str, type_: PropertyType, to: PropertyType) -> str:
    if type_ is to:
        return expression
    if type_ in (PropertyType.INTEGER, PropertyType.DECIMAL, PropertyType.FLOAT):
        return f"headrace_number('{to}', {expression})"
    if to in TEXT_TYPES and type_ is PropertyType.BOOLEAN:
        return SqliteDialect().canonical_text(expression, type_)
    return expression
