"""A source of files for the suite of source readers: written by SQL, like the others, on a mirror."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from headrace.domain.vocabulary import FeedClass
from headrace.errors import SourceUnavailableError

FORMATS = ("csv", "parquet")
_TYPES = {
    "integer": pa.int64(),
    "text": pa.string(),
    "timestamptz": pa.timestamp("us", "UTC"),
    "timestamp": pa.timestamp("us"),
    "date": pa.date32(),
}
"""Of Parquet's columns, by the type that a test declares."""


@dataclass
class FileSource:
    """A table is a directory with one file, which is renamed into place whenever the table has changed.

    Attributes:
        dialect: the format of the files.
        connection: the mirror.
    """

    dialect: str
    url: str
    directory: Path
    connection: sqlite3.Connection
    promises: FeedClass = FeedClass.EVENTUAL
    sql: str = "sqlite"
    missing: type[Exception] = SourceUnavailableError
    _written: tuple[int, int] = field(default=(0, 0))

    def execute(self, statement: str, *rows: Sequence[Any]) -> None:
        if rows:
            self.connection.executemany(statement, rows)
        else:
            self.connection.execute(statement)
        self.connection.commit()
        shape = self.connection.execute("PRAGMA schema_version").fetchone()[0]
        if (shape, self.connection.total_changes) != self._written:
            self._written = (shape, self.connection.total_changes)
            tables = self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in tables.fetchall():
                self._write(table)

    def time(self, text: str) -> str:
        """The cursor's text as this format shows it."""
        return text if self.dialect == "csv" else f"{text}{'' if '.' in text else '.000000'}Z"

    def _write(self, table: str) -> None:
        folder = self.directory / table
        folder.mkdir(exist_ok=True)
        write: Callable[..., None] = csv.write_csv if self.dialect == "csv" else pq.write_table
        write(self._rows(table), folder / ".new")
        (folder / ".new").rename(folder / f"rows.{self.dialect}")

    def _rows(self, table: str) -> pa.Table:
        name = table.replace('"', '""')
        declared = self.connection.execute("SELECT name, type FROM pragma_table_info(?)", (table,)).fetchall()
        rows = self.connection.execute(f'SELECT * FROM "{name}"').fetchall()
        cells = list(zip(*rows, strict=True)) or [()] * len(declared)
        columns = {}
        for (column, type_), values in zip(declared, cells, strict=True):
            texts = pa.array([None if value is None else str(value) for value in values], pa.string())
            columns[column] = texts if self.dialect == "csv" else _typed(texts, type_)
        return pa.table(columns)


def _typed(texts: pa.Array[Any], declared: str) -> pa.Array[Any]:
    wanted = _TYPES[declared.lower()]
    if pa.types.is_timestamp(wanted) and wanted.tz:
        return texts.cast(pa.timestamp("us")).cast(wanted)
    return texts.cast(wanted)


@contextmanager
def file_source(format_: str, directory: Path) -> Iterator[FileSource]:
    """An empty directory for files of one format."""
    directory.mkdir()
    with closing(sqlite3.connect(":memory:")) as connection:
        yield FileSource(format_, directory.as_uri(), directory, connection)
