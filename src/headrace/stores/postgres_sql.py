"""PostgreSQL's SQL: types, expressions and aggregates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from headrace.domain.shape import PropertyShape
from headrace.domain.vocabulary import TEXT_TYPES, Aggregation, PropertyType
from headrace.stores.dialect import GREATEST_FLOAT, LARGE_FLOAT, Aggregate, Binds

_TYPES: Final[Mapping[PropertyType, str]] = {
    PropertyType.BOOLEAN: "boolean",
    PropertyType.INTEGER: "bigint",
    PropertyType.FLOAT: "double precision",
    PropertyType.DECIMAL: "numeric",
    **dict.fromkeys(TEXT_TYPES, 'text COLLATE "C"'),
    PropertyType.DATE: "date",
    PropertyType.DATETIME: "timestamp with time zone",
    PropertyType.JSON: "jsonb",
}
_TOLD_AS_TEXT: Final = frozenset({PropertyType.DECIMAL, PropertyType.DATE, PropertyType.DATETIME})
_INT64: Final = "BETWEEN -9223372036854775808 AND 9223372036854775807"


class PostgresDialect:
    """Quotes for `psycopg`, so a percent sign in a name is doubled: every statement passes binds."""

    name = "postgres"
    types = _TYPES
    text = 'text COLLATE "C"'
    json = "jsonb"
    timestamp = "timestamp with time zone"
    now = "transaction_timestamp()"
    now_by_default = True
    index_order: tuple[str, ...] = ("SET LOCAL enable_sort = off",)
    numbered = "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    driving_join = "JOIN"

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def quote(self, name: str) -> str:
        return '"' + name.replace('"', '""').replace("%", "%%") + '"'

    def table(self, name: str) -> str:
        return f"{self.quote(self.namespace)}.{self.quote(name)}"

    def temp(self, name: str) -> str:
        return f"pg_temp.{self.quote(name)}"

    def create_temp(self, name: str, columns: str) -> str:
        return f"CREATE TEMP TABLE {self.quote(name)} ({columns}) ON COMMIT DROP"

    def create_index(self, name: str, *, table: str, columns: str) -> str:
        return f"CREATE INDEX {self.quote(name)} ON {self.table(table)} ({columns})"

    def drop_index(self, name: str) -> str:
        return f"DROP INDEX {self.table(name)}"

    def later(self, binds: Binds, seconds: float) -> str:
        return f"({self.now} + make_interval(secs => {binds.add(seconds)}))"

    def marker(self, name: str) -> str:
        return f"%({name})s"

    def typed_marker(self, binds: Binds, text: str | None, type_: PropertyType) -> str:
        return f"CAST({binds.add(text)} AS {_bare(type_)})"

    def differs(self, one: str, other: str) -> str:
        return f"{one} IS DISTINCT FROM {other}"

    def comparable(self, expression: str, type_: PropertyType) -> str:  # noqa: ARG002
        return expression

    def delete_joined(self, target: str, *, using: str, on: str) -> str:
        return f"DELETE FROM {target} AS r USING {using} WHERE {on}"

    def delete_earlier(self, table: str, columns: Sequence[str]) -> str:
        # Each load has a transaction id of its own, a savepoint's, which rise, and writes a key once.
        told_by, name = ", ".join(map(self.quote, columns)), self.table(table)
        number = f"row_number() OVER (PARTITION BY {told_by} ORDER BY age(xmin), ctid DESC)"
        numbered = f"SELECT ctid AS place, {number} AS number FROM {name}"
        return f"DELETE FROM {name} AS r USING ({numbered}) AS n WHERE r.ctid = n.place AND n.number > 1"

    def canonical_text(self, expression: str, type_: PropertyType) -> str:
        match type_:
            case PropertyType.DECIMAL:
                return f"CAST(trim_scale({expression}) AS text)"
            case PropertyType.DATETIME:
                moment = f"{expression} AT TIME ZONE 'UTC'"
                return f'to_char({moment}, \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\')'
            case _:
                return f"CAST({expression} AS text)"

    key_text = canonical_text

    def byte_length(self, text: str) -> str:
        return f"CAST(octet_length({text}) AS text)"

    def digest_of_lines(self, line: str) -> str:
        # Not md5(): servers that follow FIPS have none.
        joined = f"COALESCE(string_agg({line}, chr(10)), '')"
        return f"encode(sha256(convert_to({joined}, 'UTF8')), 'hex')"

    def json_array(self, expressions: Sequence[str]) -> str:
        return f"CAST(jsonb_build_array({', '.join(expressions)}) AS text)"

    def json_object(self, members: Sequence[tuple[str, str, PropertyType]]) -> str:
        # Of a row: a function takes a hundred arguments at most.
        values = ", ".join(
            f"{self.canonical_text(expression, type_) if type_ in _TOLD_AS_TEXT else expression}"
            f" AS {self.quote(name)}"
            for name, expression, type_ in members
        )
        return f"(SELECT CAST(to_json(o) AS text) FROM (SELECT {values}) AS o)"

    def json_part(self, expression: str, index: int, type_: PropertyType) -> str:
        return f"CAST((CAST({expression} AS jsonb) ->> {index}) AS {_bare(type_)})"

    def merged_invalid(self, binds: Binds, *, old: str, names: Sequence[str], new: str) -> str:
        # Somebody may have written by hand what is no object, from which nothing can be taken.
        entries = f"CASE WHEN jsonb_typeof({old}) = 'object' THEN {old} ELSE '{{}}'::jsonb END"
        kept = f"{entries} - CAST({binds.add(list(names))} AS text[])"
        return (
            f"CASE WHEN {old} IS NULL AND {new} IS NULL THEN NULL"
            f" ELSE NULLIF(({kept}) || COALESCE({new}, '{{}}'::jsonb), '{{}}'::jsonb) END"
        )

    def invalid_within(self, binds: Binds, invalid: str, names: Sequence[str]) -> str:
        entries = f"jsonb_each(CASE WHEN jsonb_typeof({invalid}) = 'object' THEN {invalid} END) AS e"
        wanted = f"e.key = ANY(CAST({binds.add(list(names))} AS text[]))"
        return f"(SELECT jsonb_object_agg(e.key, e.value) FROM {entries} WHERE {wanted})"

    def invalid_of(self, binds: Binds, invalid: str, properties: Sequence[PropertyShape]) -> str:
        members = []
        for shape in properties:
            name = binds.text(shape.column)
            # The filter spares the text of rows without any, which are most.
            least = f'min({_entry_text(f"{invalid} -> {name}")} COLLATE "C")'
            entry = f"{least} FILTER (WHERE {invalid} IS NOT NULL)"
            made = f"jsonb_build_object({binds.text(shape.name)}, CAST({entry} AS jsonb))"
            members.append(f"CASE WHEN {entry} IS NULL THEN '{{}}'::jsonb ELSE {made} END")
        joined = f"NULLIF({' || '.join(members)}, '{{}}'::jsonb)"
        return f"CASE WHEN count({invalid}) > 0 THEN {joined} END"

    def position(self, text: str, part: str) -> str:
        return f"strpos({text}, {part})"

    def starts_with(self, text: str, part: str) -> str:
        return f"starts_with({text}, {part})"

    def aggregate(self, aggregate: Aggregate) -> str:
        shape, column, type_ = aggregate.shape, aggregate.column, aggregate.column_type
        when = f"FILTER (WHERE {aggregate.condition})"
        if column is None or type_ is None:
            return _number(f"CAST(count(*) {when} AS numeric)", PropertyType.INTEGER, shape.type)
        match shape.aggregation:
            case Aggregation.COUNT | Aggregation.COUNT_DISTINCT:
                return _count(aggregate, column, type_)
            case Aggregation.SUM:
                return _sum(aggregate, column, type_)
            case Aggregation.AVERAGE:
                return _average(aggregate, column, type_)
            case Aggregation.MIN | Aggregation.MAX:
                function = shape.aggregation.value
                if type_ is PropertyType.BOOLEAN:
                    function = "bool_and" if shape.aggregation is Aggregation.MIN else "bool_or"
                return _converted(f"{function}({column}) {when}", type_, shape.type)
            case Aggregation.LIST:
                item = column
                if type_ in (PropertyType.DECIMAL, PropertyType.DATE, PropertyType.DATETIME):
                    item = self.canonical_text(column, type_)
                listed = f"jsonb_agg({item} ORDER BY {_order(aggregate)}) {when}"
                return f"COALESCE({listed}, '[]'::jsonb)"
            case _:
                chosen = f"(array_agg({column} ORDER BY {_order(aggregate)}) {when})[1]"
                return _converted(chosen, type_, shape.type)


def _bare(type_: PropertyType) -> str:
    return _TYPES[type_].removesuffix(' COLLATE "C"')


def _entry_text(entry: str) -> str:
    """The canonical text of an invalid value's entry: the same on both dialects, so the least is."""
    reason, value = f"(({entry}) -> 'reason')::text", f"(({entry}) -> 'value')::text"
    return f"('{{\"reason\":' || {reason} || ',\"value\":' || COALESCE({value}, 'null') || '}}')"


def _order(aggregate: Aggregate) -> str:
    """By key; most_recent by the greatest order value and key first, nulls after all others."""
    latest = aggregate.shape.aggregation is Aggregation.MOST_RECENT
    way = " DESC" if latest else ""
    key = [f"{_sortable(c, t)}{way}" for c, t in aggregate.key]
    if aggregate.order_by is None:
        return ", ".join(key)
    return ", ".join([f"{_sortable(*aggregate.order_by)}{way} NULLS LAST", *key])


def _sortable(expression: str, type_: PropertyType) -> str:
    return f'({expression}::text) COLLATE "C"' if type_ is PropertyType.JSON else expression


def _count(aggregate: Aggregate, column: str, type_: PropertyType) -> str:
    counted = column
    if aggregate.shape.aggregation is Aggregation.COUNT_DISTINCT:
        # 1 and 1.0 are equal as jsonb, and differ where JSON is text.
        counted = f"DISTINCT {_sortable(column, type_)}"
    number = f"CAST(count({counted}) FILTER (WHERE {aggregate.condition}) AS numeric)"
    return _number(number, PropertyType.INTEGER, aggregate.shape.type)


def _sum(aggregate: Aggregate, column: str, type_: PropertyType) -> str:
    when = f"FILTER (WHERE {aggregate.condition})"
    if type_ is PropertyType.FLOAT:
        total = f"CASE WHEN count({column}) {when} = 0 THEN 0 ELSE {_float_total(aggregate, column)} END"
    else:
        total = f"COALESCE(sum({column}) {when}, 0)"
    return _number(total, type_, aggregate.shape.type)


def _float_total(aggregate: Aggregate, column: str) -> str:
    """Added in key order; what is so large that the sum could overflow, which would be an error, exactly.
    Null where no float holds the sum, and without rows."""
    large = f"abs({column}) > CAST('{LARGE_FLOAT!r}' AS double precision)"
    when = f"FILTER (WHERE {aggregate.condition} AND NOT {large})"
    small = f"sum({column} ORDER BY {_order(aggregate)}) {when}"
    whole = f"sum({_exact(column)}) FILTER (WHERE {aggregate.condition} AND {large})"
    exact = f"{whole} + COALESCE({_exact(small)}, 0)"
    holds = f"abs({exact}) <= {GREATEST_FLOAT}"
    return f"CASE WHEN {whole} IS NULL THEN {small} WHEN {holds} THEN CAST({exact} AS double precision) END"


def _exact(expression: str) -> str:
    """A float as the number that its shortest text says."""
    return f"CAST(CAST({expression} AS text) AS numeric)"


def _average(aggregate: Aggregate, column: str, type_: PropertyType) -> str:
    when = f"FILTER (WHERE {aggregate.condition})"
    count = f"count({column}) {when}"
    if type_ is PropertyType.FLOAT:
        total = _float_total(aggregate, column)
        # A quotient too small for a float would be an error.
        quotient = f"CASE WHEN abs({total}) < 1e-200 THEN 0 ELSE {total} / NULLIF({count}, 0) END"
        rounded = f"round({_exact(quotient)}, 10)"
        return _number(rounded, PropertyType.DECIMAL, aggregate.shape.type)
    # Integer division of the doubled, scaled sum rounds once, half away from zero.
    total = f"sum(CAST({column} AS numeric)) {when}"
    scaled = f"div(2 * abs({total}) * 10000000000 + {count}, 2 * NULLIF({count}, 0))"
    quotient = f"sign({total}) * {scaled} * 0.0000000001"
    return _number(quotient, PropertyType.DECIMAL, aggregate.shape.type)


def _converted(expression: str, type_: PropertyType, to: PropertyType) -> str:
    if type_ is to:
        return expression
    if type_ in (PropertyType.INTEGER, PropertyType.DECIMAL, PropertyType.FLOAT):
        return _number(expression, type_, to)
    if to in TEXT_TYPES and type_ not in TEXT_TYPES:
        return PostgresDialect.canonical_text(PostgresDialect(""), expression, type_)
    return expression


def _number(expression: str, type_: PropertyType, to: PropertyType) -> str:
    """A number as the type `to`; null where an integer does not hold it."""
    if type_ is to is PropertyType.FLOAT:
        return expression
    exact = f"CAST({expression} AS numeric)"
    if type_ is PropertyType.FLOAT:
        exact = _exact(expression)
    match to:
        case PropertyType.INTEGER:
            fits = f"{exact} {_INT64} AND {exact} = trunc({exact})"
            return f"CASE WHEN {fits} THEN CAST({exact} AS bigint) END"
        case PropertyType.DECIMAL:
            return f"trim_scale({exact})"
        case PropertyType.FLOAT:
            return f"CAST({exact} AS double precision)"
        case _:
            return f"CAST(trim_scale({exact}) AS text)"
