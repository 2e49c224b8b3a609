"""Rows that a SQLite data source takes many to a statement are as one statement a row would write them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.domain.vocabulary import ARROW_TYPES, PropertyType
from headrace.stores.sqlite import SqliteSession
from headrace.stores.sqlite_sql import SqliteDialect

INSTANTS: Final = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999))  # noqa: DTZ001
VALUES: Final[dict[PropertyType, st.SearchStrategy[Any]]] = {
    PropertyType.BOOLEAN: st.booleans(),
    PropertyType.INTEGER: st.integers(-(2**63), 2**63 - 1),
    PropertyType.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    PropertyType.DECIMAL: st.sampled_from(["0", "-1.5", "12345678901234567890.1", "1e3"]),
    PropertyType.DATE: st.dates(),
    PropertyType.DATETIME: INSTANTS.map(lambda at: at.replace(tzinfo=UTC)),
}
TEXT: Final = st.text(st.characters(codec="utf-8"), max_size=8)
ROW: Final = st.tuples(*(st.none() | VALUES.get(type_, TEXT) for type_ in PropertyType))
NOTHING: Final = (None,) * len(PropertyType)
MOST_AT_ONCE: Final = 20


def one_by_one(connection: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
    marks = ", ".join("?" * len(PropertyType))
    for row in rows:
        connection.execute(f"INSERT INTO plain VALUES ({marks})", [_kept(value) for value in row])


def _kept(value: Any) -> Any:
    if isinstance(value, datetime):
        whole = value - timedelta(microseconds=value.microsecond)
        return f"{whole.isoformat().removesuffix('+00:00')}.{value.microsecond:06}Z"
    if isinstance(value, date):
        return value.isoformat()
    return int(value) if isinstance(value, bool) else value


@settings(max_examples=80, deadline=None)
@given(few=st.lists(ROW, max_size=4), count=st.integers(0, 3 * MOST_AT_ONCE), pieces=st.integers(1, 7))
@example(few=[NOTHING], count=MOST_AT_ONCE, pieces=1)
@example(few=[NOTHING], count=2 * MOST_AT_ONCE + 1, pieces=3)
@example(few=[], count=0, pieces=1)
def test_rows_of_any_number_are_loaded_as_they_would_be_one_by_one(
    few: list[tuple[Any, ...]], count: int, pieces: int
) -> None:
    """`count`: so many rows, the few over and over; `pieces`: how many there are in memory."""
    rows = [few[at % len(few)] for at in range(count)] if few else []
    named = [type_.value for type_ in PropertyType]
    columns = [(name, SqliteDialect.types[type_]) for name, type_ in zip(named, PropertyType, strict=True)]
    cut = max(1, count // pieces)
    batches = [_table(rows[at : at + cut]) for at in range(0, count, cut)] or [_table([])]
    defined = ", ".join(f'"{name}" {type_}' for name, type_ in columns)
    with closing(sqlite3.connect(":memory:")) as connection:
        for table in ("plain", "loaded"):
            connection.execute(f"CREATE TABLE {table} ({defined})")
        one_by_one(connection, rows)
        SqliteSession(connection, SqliteDialect(), {}).load("loaded", columns, pa.concat_tables(batches))
        typed = ", ".join(f'"{name}", typeof("{name}")' for name in named)
        plain, loaded = (
            connection.execute(f"SELECT {typed} FROM {table} ORDER BY rowid").fetchall()
            for table in ("plain", "loaded")
        )
    assert loaded == plain
    assert len(loaded) == len(rows)


def test_a_table_of_many_columns_takes_as_many_rows_at_once_as_it_has_markers_for() -> None:
    wide = 300
    names = [f"c{n}" for n in range(wide)]
    rows = pa.table({name: pa.array(range(45), pa.int64()) for name in names})
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
        connection.execute(f"CREATE TABLE wide ({', '.join(names)})")
        SqliteSession(connection, SqliteDialect(), {}).load("wide", [(n, "INTEGER") for n in names], rows)
        found = connection.execute("SELECT c0, c299 FROM wide ORDER BY rowid").fetchall()
    assert found == [(n, n) for n in range(45)]


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(PropertyType)
    arrays = [pa.array(c, ARROW_TYPES[type_]) for c, type_ in zip(columns, PropertyType, strict=True)]
    return pa.table(arrays, names=[type_.value for type_ in PropertyType])
