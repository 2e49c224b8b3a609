"""Implements `ports.Expectation` in a SQLite file that nobody else sees.

SQLite only stores, sorts and joins here; what properties are is `domain.accumulate`'s, row by row, so that
a fault of the SQL that merges is not repeated.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count, groupby
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from headrace.domain.accumulate import Accumulator, canonical, least_invalid
from headrace.domain.shape import ModelShape, SourceShape
from headrace.domain.vocabulary import APP, CUSTOMER, DELETED, INVALID, DataSourceId, PropertyType
from headrace.ports import Difference, DifferenceKind, Expectation, RecordId
from headrace.stores.expectation_sql import (
    KEY_ORDER,
    Tables,
    compare_decimals,
    merged_invalid,
    plain_rows,
    text_of,
)
from headrace.stores.expectation_values import differing, shown

_PIECE_ROWS: Final = 20_000


@contextmanager
def open_expectation(model: ModelShape, properties: Collection[str]) -> Iterator[Expectation]:
    """An empty expectation, gone when the context is left."""
    with (
        tempfile.TemporaryDirectory(prefix="headrace-verify-") as directory,
        closing(sqlite3.connect(Path(directory) / "records.db", isolation_level=None)) as database,
    ):
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA temp_store = FILE")
        database.execute("PRAGMA cache_size = -65536")
        database.create_collation(KEY_ORDER, compare_decimals)
        database.create_function("merged_invalid", -1, merged_invalid, deterministic=True)
        yield SqliteExpectation(database, model, properties, prefix="e0")


class SqliteExpectation:
    """Tables of one prefix in the file; those of set-aside keys are shared between prefixes."""

    def __init__(
        self, database: sqlite3.Connection, model: ModelShape, properties: Collection[str], *, prefix: str
    ) -> None:
        self._database = database
        self._model = model
        self._properties = frozenset(properties)
        self._tables = Tables(model, prefix, self._properties)
        self._data_sources: list[DataSourceId] = []
        self._numbers = count(1)
        for statement in self._tables.definitions():
            database.execute(statement)

    def add(self, source: SourceShape, data_source_id: DataSourceId, app_id: str, events: pa.Table) -> None:
        place = self._place(data_source_id)
        columns = [CUSTOMER, *source.columns, INVALID]
        there = events.filter(pc.invert(events.column(DELETED)))
        self._insert(self._tables.rows(source), [place, app_id], there, columns)

    def set_aside(self, source: SourceShape, owner: str | None, keys: pa.Table) -> None:
        self._insert(self._tables.aside(source), [owner], keys, source.key)

    def has_set_aside(self, source: SourceShape) -> bool:
        found = self._database.execute(f"SELECT 1 FROM {self._tables.aside(source)} LIMIT 1").fetchone()
        return found is not None

    def leave_out(self, source: SourceShape) -> None:
        self._database.execute(self._tables.leave_out(source))

    def keep(
        self, source: SourceShape, data_source_id: DataSourceId, rows: pa.Table, *, only_set_aside: bool
    ) -> None:
        if APP not in rows.column_names:
            rows = rows.append_column(APP, pa.nulls(rows.num_rows, pa.string()))
        columns = [APP, CUSTOMER, *source.columns, INVALID]
        self._database.execute(f"DELETE FROM {self._tables.kept(source)}")
        self._insert(self._tables.kept(source), [self._place(data_source_id)], rows, columns)
        for statement in self._tables.keep(source, only_set_aside=only_set_aside):
            self._database.execute(statement)

    def settle(self, source: SourceShape) -> None:
        names = [c.name for c in source.columns]
        flags = [i for i, c in enumerate(source.columns) if c.type is PropertyType.BOOLEAN]
        with closing(self._database.execute(self._tables.grouped(source))) as found:
            made: list[tuple[Any, ...]] = []
            for place, rows in groupby(found, key=lambda row: row[:3]):
                made.append((*place, *_properties(source, names, flags, (row[3:] for row in rows))))
                if len(made) >= _PIECE_ROWS:
                    self._insert_rows(self._tables.made(source), made)
                    made = []
            self._insert_rows(self._tables.made(source), made)

    def mapped_values(self, source: SourceShape) -> Sequence[tuple[str, str]]:
        assert source.mapping is not None  # noqa: S101 (every secondary source has one)
        name = source.mapping.property
        type_ = next(c.type for c in self._model.columns if c.name == name)
        found = self._database.execute(self._tables.distinct(name))
        return [(customer, text_of(value, type_)) for customer, value in found]

    def add_stored(self, data_source_id: DataSourceId, records: pa.Table) -> None:
        place = self._place(data_source_id)
        columns = [CUSTOMER, *self._model.columns, INVALID]
        self._insert(self._tables.stored, [place], records, columns)

    def compare(self, kinds: Collection[DifferenceKind]) -> int:
        self._database.execute(f"DELETE FROM {self._tables.noted}")
        for statement in self._tables.note_differences(kinds):
            self._database.execute(statement)
        ((number,),) = self._database.execute(f"SELECT count(*) FROM {self._tables.noted}")
        return int(number)

    def noted(self, *, after: int, limit: int) -> Sequence[tuple[int, RecordId]]:
        found = self._database.execute(
            f"SELECT rowid, * FROM {self._tables.noted} WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (after, limit),
        )
        return [(number, self._record(row)) for number, *row in found]

    def differences(self) -> Sequence[Difference]:
        made = (self._difference(row) for row in self._database.execute(self._tables.both_sides()).fetchall())
        return [difference for difference in made if difference is not None]

    def counts(self) -> tuple[int, int]:
        ((expected, stored),) = self._database.execute(self._tables.count())
        return int(expected), int(stored)

    @contextmanager
    def afresh(self) -> Iterator[Expectation]:
        prefix = f"{self._tables.prefix}_{next(self._numbers)}"
        other = SqliteExpectation(self._database, self._model, self._properties, prefix=prefix)
        try:
            yield other
        finally:
            for table in other._tables.own():
                self._database.execute(f"DROP TABLE {table}")

    def _difference(self, row: Sequence[Any]) -> Difference | None:
        record = self._record(row)
        has_expected, has_found, *values = row[2 + len(record.key) :]
        half = len(values) // 2
        names = [*self._tables.compared, INVALID]
        expected = shown(self._model, dict(zip(names, values[:half], strict=True)))
        found = shown(self._model, dict(zip(names, values[half:], strict=True)))
        kind: DifferenceKind = "differs" if has_expected and has_found else "ghost"
        if not has_found:
            return Difference(record=record, kind="missing", expected=expected)
        if kind == "ghost":
            return Difference(record=record, kind=kind, found=found)
        wrong = differing(self._model, expected, found)
        if not wrong:
            return None
        return Difference(
            record=record,
            kind=kind,
            expected={name: expected[name] for name in wrong},
            found={name: found[name] for name in wrong},
        )

    def _record(self, row: Sequence[Any]) -> RecordId:
        place, customer, *rest = row
        key = tuple(text_of(v, c.type) for v, c in zip(rest, self._model.key, strict=False))
        return RecordId(self._data_sources[place], customer, key)

    def _place(self, data_source_id: DataSourceId) -> int:
        if data_source_id not in self._data_sources:
            self._data_sources.append(data_source_id)
        return self._data_sources.index(data_source_id)

    def _insert(self, table: str, first: Sequence[Any], rows: pa.Table, columns: Sequence[Any]) -> None:
        for piece in rows.to_batches(max_chunksize=_PIECE_ROWS):
            self._insert_rows(table, plain_rows(piece, first, columns))

    def _insert_rows(self, table: str, rows: Collection[tuple[Any, ...]]) -> None:
        if rows:
            width = len(next(iter(rows)))
            markers = ", ".join("?" * width)
            self._database.execute("BEGIN")
            self._database.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({markers})", rows)
            self._database.execute("COMMIT")


def _properties(
    source: SourceShape, names: Sequence[str], flags: Sequence[int], rows: Iterator[tuple[Any, ...]]
) -> Iterator[Any]:
    """The source's properties over the rows of one mapped value, then the entries of `_invalid`."""
    types = {c.name: c.type for c in source.columns}
    made = [Accumulator(p, types) for p in source.properties]
    entries: dict[str, list[str]] = {}
    for *values, invalid in rows:
        for flag in flags:
            values[flag] = None if values[flag] is None else bool(values[flag])
        row = dict(zip(names, values, strict=True))
        for one in made:
            one.add(row)
        if invalid is not None:
            _add_entries(source, invalid, entries)
    yield from (one.value() for one in made)
    yield canonical(least_invalid(list(entries.items()))) if entries else None


def _add_entries(source: SourceShape, invalid: str, entries: dict[str, list[str]]) -> None:
    parsed = json.loads(invalid)
    for p in source.properties:
        if p.column in parsed:
            entries.setdefault(p.name, []).append(canonical(parsed[p.column]))
