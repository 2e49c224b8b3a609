"""The tables of an expectation and the statements that join them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import repeat
from typing import Any, Final

import pyarrow as pa

from headrace.domain.accumulate import Accumulator, canonical
from headrace.domain.coercion import canonical_text
from headrace.domain.feeding import feeding_sources
from headrace.domain.shape import Column, ModelShape, SourceShape
from headrace.domain.vocabulary import PropertyType
from headrace.ports import DifferenceKind
from headrace.stores.expectation_values import read_json

KEY_ORDER: Final = "decimals"
"""The collation of decimal keys."""
_TIMES: Final = frozenset({PropertyType.DATE, PropertyType.DATETIME})


def compare_decimals(one: str, other: str) -> int:
    a, b = Decimal(one), Decimal(other)
    return (a > b) - (a < b)


def merged_invalid(names: str | None, *objects: str | None) -> str | None:
    """The members of all objects whose names are listed (null: of any name); null when there are none. What
    is no object, which only a person writes, stays as it is."""
    merged: dict[str, Any] = {}
    for text in objects:
        members = {} if text is None else read_json(text)
        if not isinstance(members, dict):
            return text
        merged |= members
    if names is not None:
        merged = {name: entry for name, entry in merged.items() if name in json.loads(names)}
    return canonical(merged) if merged else None


def plain_rows(
    piece: pa.RecordBatch, first: Sequence[Any], columns: Sequence[Column | str]
) -> list[tuple[Any, ...]]:
    """The rows of a batch as SQLite keeps them, whole columns at once: dates and times as canonical texts."""
    lists: list[Iterable[Any]] = [repeat(value, piece.num_rows) for value in first]
    for column in columns:
        name = column if isinstance(column, str) else column.name
        values = piece.column(name)
        if isinstance(column, Column) and column.type in _TIMES:
            values = canonical_text(values)
        lists.append(values.to_pylist())
    return list(zip(*lists, strict=True))


def text_of(value: Any, type_: PropertyType) -> str:
    """The canonical text of a value that is not null, as SQLite keeps it."""
    match type_:
        case PropertyType.BOOLEAN:
            return "true" if value else "false"
        case PropertyType.FLOAT:
            return repr(float(value))
        case _:
            return str(value)


class Tables:
    """Names and statements for one model under one prefix; columns are numbered, so that no name of a
    definition is ever part of a statement."""

    def __init__(self, model: ModelShape, prefix: str, properties: Collection[str]) -> None:
        self.prefix = prefix
        self._model = model
        self._sources = feeding_sources(model, properties)
        key = {c.name for c in model.key}
        self.compared = tuple(c.name for c in model.columns if c.name in properties and c.name not in key)
        whole = set(properties) >= {c.name for c in model.columns}
        self._names = "NULL" if whole else _literal(canonical(sorted(properties)))
        self.stored = f"{prefix}_stored"
        self.noted = f"{prefix}_noted"

    def rows(self, source: SourceShape) -> str:
        return f"{self.prefix}_rows{self._number(source)}"

    def kept(self, source: SourceShape) -> str:
        return f"{self.prefix}_kept{self._number(source)}"

    def made(self, source: SourceShape) -> str:
        return f"{self.prefix}_made{self._number(source)}"

    def aside(self, source: SourceShape) -> str:
        return f"aside{self._number(source)}"

    def own(self) -> Iterator[str]:
        """Every table of the prefix."""
        yield from (self.stored, self.noted)
        for source in self._sources:
            yield self.rows(source)
            if not source.primary:
                yield from (self.kept(source), self.made(source))

    def definitions(self) -> Iterator[str]:
        model = self._model
        record_key = ", ".join(("place", "customer", *_columns(len(model.key))))
        keyed = f"PRIMARY KEY ({record_key})) WITHOUT ROWID"
        stored = ", ".join(("place", "customer", *_columns(len(model.columns)), "invalid"))
        yield f"CREATE TABLE {self.stored} ({stored}, {keyed}"
        yield f"CREATE TABLE {self.noted} ({record_key})"
        for source in self._sources:
            columns = ", ".join(("place", "app", "customer", *_columns(len(source.columns)), "invalid"))
            aside, key = self.aside(source), ", ".join(_columns(len(source.key)))
            yield f"CREATE TABLE IF NOT EXISTS {aside} (owner, {key})"
            yield f"CREATE INDEX IF NOT EXISTS {aside}_key ON {aside} ({key})"
            if source.primary:
                yield f"CREATE TABLE {self.rows(source)} ({columns}, {keyed}"
                continue
            yield f"CREATE TABLE {self.rows(source)} ({columns})"
            yield f"CREATE TABLE {self.kept(source)} ({columns})"
            properties = ", ".join(_columns(len(source.properties)))
            made = f"place, customer, value, {properties + ', ' if properties else ''}invalid"
            yield (
                f"CREATE TABLE {self.made(source)} ({made}, PRIMARY KEY (place, customer, value))"
                " WITHOUT ROWID"
            )

    def leave_out(self, source: SourceShape) -> str:
        rows = self.rows(source)
        mine = _same(_columns(len(source.key)), "x", rows)
        app = f" AND x.owner = {rows}.app" if source.many_apps else ""
        return f"DELETE FROM {rows} WHERE EXISTS (SELECT 1 FROM {self.aside(source)} AS x WHERE {mine}{app})"

    def keep(self, source: SourceShape, *, only_set_aside: bool) -> Iterator[str]:
        rows, key = self.rows(source), _columns(len(source.key))
        yield f"CREATE INDEX IF NOT EXISTS {rows}_key ON {rows} (place, {', '.join(key)})"
        same_key = " AND ".join(f"{{0}}.{c} = k.{c}" for c in key)
        same_app = " AND {0}.{1} = k.app" if source.many_apps else ""
        given = f"r.place = k.place AND {same_key.format('r')}{same_app.format('r', 'app')}"
        kept = f"NOT EXISTS (SELECT 1 FROM {rows} AS r WHERE {given})"
        aside = f"SELECT 1 FROM {self.aside(source)} AS x WHERE {{}}"
        if only_set_aside:
            kept += f" AND EXISTS ({aside.format(same_key.format('x') + same_app.format('x', 'owner'))})"
        yield f"INSERT INTO {rows} SELECT k.* FROM {self.kept(source)} AS k WHERE {kept}"

    def grouped(self, source: SourceShape) -> str:
        """Place, customer and mapped value, then the columns and `_invalid`, rows by key."""
        value = _column(self._mapped_column(source))
        key = [
            f"{_column(i)} COLLATE {KEY_ORDER}" if c.type is PropertyType.DECIMAL else _column(i)
            for i, c in enumerate(source.key)
        ]
        order = ", ".join(("place", "customer", value, *key, "app"))
        columns = ", ".join((*_columns(len(source.columns)), "invalid"))
        return (
            f"SELECT place, customer, {value}, {columns} FROM {self.rows(source)}"
            f" WHERE {value} IS NOT NULL ORDER BY {order}"
        )

    def distinct(self, name: str) -> str:
        """Customers and values of a property over the expected records."""
        value = self._expected(name)
        return f"SELECT DISTINCT p.customer, {value} FROM {self._records(name)} WHERE {value} IS NOT NULL"

    def count(self) -> str:
        rows = self.rows(self._model.primary)
        return f"SELECT (SELECT count(*) FROM {rows}), (SELECT count(*) FROM {self.stored})"

    def note_differences(self, kinds: Collection[DifferenceKind]) -> Iterator[str]:
        key = ("place", "customer", *_columns(len(self._model.key)))
        expected = ", ".join(f"p.{c}" for c in key)
        both = zip(self._both(), self._found(), strict=True)
        conditions = ["s.customer IS NULL"] if "missing" in kinds else []
        differs = " OR ".join(f"({e}) IS NOT ({f})" for e, f in both)
        conditions.append(f"(s.customer IS NOT NULL AND ({differs}))")
        yield (
            f"INSERT INTO {self.noted} SELECT {expected} FROM {self._records()}"
            f" LEFT JOIN {self.stored} AS s ON {_same(key, 's', 'p')} WHERE ({' OR '.join(conditions)})"
            f" AND {self._counts('p')}"
        )
        if "ghost" in kinds:
            rows = self.rows(self._model.primary)
            yield (
                f"INSERT INTO {self.noted} SELECT {', '.join(f's.{c}' for c in key)}"
                f" FROM {self.stored} AS s LEFT JOIN {rows} AS p ON {_same(key, 'p', 's')}"
                f" WHERE p.customer IS NULL AND {self._counts('s')}"
            )

    def _counts(self, record: str) -> str:
        """The record is not set aside."""
        aside = self.aside(self._model.primary)
        mine = _same(_columns(len(self._model.key)), "x", record)
        owner = f"(x.owner IS NULL OR x.owner = {record}.customer)"
        return f"NOT EXISTS (SELECT 1 FROM {aside} AS x WHERE {mine} AND {owner})"

    def both_sides(self) -> str:
        """Each noted record: its place, customer and key, whether sources and store have it, and the compared
        properties with `_invalid`, of the sources and then of the store."""
        key = ("place", "customer", *_columns(len(self._model.key)))
        selected = [*(f"d.{c}" for c in key), "p.customer IS NOT NULL", "s.customer IS NOT NULL"]
        selected += [*self._both(), *self._found()]
        records = self._records().replace(" AS p", f" AS p ON {_same(key, 'p', 'd')}", 1)
        return (
            f"SELECT {', '.join(selected)} FROM {self.noted} AS d LEFT JOIN {records}"
            f" LEFT JOIN {self.stored} AS s ON {_same(key, 's', 'd')} ORDER BY d.rowid"
        )

    def _both(self) -> list[str]:
        """What the sources give: compared properties, then `_invalid`."""
        invalid = [f"{alias}.invalid" for alias in ["p", *map(self._alias, self._sources[1:])]]
        none = " AND ".join(f"{i} IS NULL" for i in invalid)
        merged = f"merged_invalid({', '.join((self._names, *invalid))})"
        return [*map(self._expected, self.compared), f"CASE WHEN {none} THEN NULL ELSE {merged} END"]

    def _found(self) -> list[str]:
        """The same of the store."""
        place = {c.name: i for i, c in enumerate(self._model.columns)}
        properties = [f"s.{_column(place[name])}" for name in self.compared]
        picked = f"merged_invalid({self._names}, s.invalid)"
        return [*properties, f"CASE WHEN s.invalid IS NULL THEN NULL ELSE {picked} END"]

    def _records(self, before: str | None = None) -> str:
        """The primary's rows as p, joined with what was made of each secondary source (of those alone that
        feed the property `before`)."""
        joined = f"{self.rows(self._model.primary)} AS p"
        for source in feeding_sources(self._model, [before])[1:] if before else self._sources[1:]:
            assert source.mapping is not None  # noqa: S101 (every secondary source has one)
            a = self._alias(source)
            joined += (
                f" LEFT JOIN {self.made(source)} AS {a} ON {a}.place = p.place"
                f" AND {a}.customer = p.customer AND {a}.value = ({self._expected(source.mapping.property)})"
            )
        return joined

    def _expected(self, name: str) -> str:
        """The property as the sources give it."""
        for i, column in enumerate(self._model.primary.columns):
            if column.name == name:
                return f"p.{_column(i)}"
        source = next(s for s in self._sources[1:] if name in {p.name for p in s.properties})
        position = next(i for i, p in enumerate(source.properties) if p.name == name)
        types = {c.name: c.type for c in source.columns}
        empty = Accumulator(source.properties[position], types).value()
        a = self._alias(source)
        return f"CASE WHEN {a}.customer IS NULL THEN {_literal(empty)} ELSE {a}.{_column(position)} END"

    def _alias(self, source: SourceShape) -> str:
        return f"a{self._number(source)}"

    def _number(self, source: SourceShape) -> int:
        return next(i for i, s in enumerate(self._model.sources) if s.id == source.id)

    def _mapped_column(self, source: SourceShape) -> int:
        assert source.mapping is not None  # noqa: S101 (every secondary source has one)
        return next(i for i, c in enumerate(source.columns) if c.name == source.mapping.column)


def _column(number: int) -> str:
    return f"c{number}"


def _columns(count: int) -> tuple[str, ...]:
    return tuple(map(_column, range(count)))


def _same(columns: Iterable[str], one: str, other: str) -> str:
    return " AND ".join(f"{one}.{c} = {other}.{c}" for c in columns)


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
