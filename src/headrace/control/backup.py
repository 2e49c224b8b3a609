"""A backup of the control database: all its tables at one moment, beside whatever works on it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from headrace.control.backup_file import (
    FORMAT,
    Kind,
    Manifest,
    TableManifest,
    add_file,
    add_manifest,
    archive_to,
    write_table,
)
from headrace.control.engine import is_missing, snapshot
from headrace.control.schema import revision_of
from headrace.control.tables import metadata, workspace
from headrace.control.types import Timestamp, now
from headrace.errors import ConfigurationError, ErrorCode

_ROWS_AT_ONCE: Final = 200
_KINDS: Final[tuple[tuple[type[sa.types.TypeEngine[Any] | Timestamp], Kind], ...]] = (
    (Timestamp, Kind.TIME),
    (sa.JSON, Kind.JSON),
    (sa.Boolean, Kind.BOOLEAN),
    (sa.LargeBinary, Kind.BYTES),
    (sa.Float, Kind.FLOAT),
    (sa.Integer, Kind.INTEGER),
    (sa.Text, Kind.TEXT),
)
"""The first that a column's type is an instance of."""


def back_up(engine: sa.Engine, path: Path, *, made_by: str) -> Manifest:
    """The control database, as it is at one moment, is in a new file. Nothing waits for it.

    A database that lacks the latest migrations is backed up as it is.

    Raises:
        ConfigurationError: there is no control database, a newer Headrace made it, or the file exists.
    """
    if is_missing(engine):  # connecting would make one
        raise ConfigurationError("there is no control database yet", code=ErrorCode.CONTROL_BEHIND)
    with snapshot(engine) as connection, archive_to(path) as archive, _beside(path) as directory:
        revision = revision_of(connection)
        tables: list[TableManifest] = []
        for table in _existing(connection):
            file = directory / f"{table.name}.jsonl"
            tables.append(write_table(file, table.name, _columns(table), _rows(connection, table)))
            add_file(archive, file)
            file.unlink()
        made_at: datetime = connection.execute(sa.select(now())).scalar_one()
        manifest = Manifest(
            format=FORMAT,
            made_by=made_by,
            made_at=made_at,
            workspace=connection.execute(sa.select(workspace.c.id)).scalar_one(),
            revision=revision,
            tables=tuple(tables),
        )
        add_manifest(archive, manifest, directory)
    return manifest


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A directory for a moment, on the file's own disk: it has the room, and is where such data may be."""
    with tempfile.TemporaryDirectory(prefix=".headrace-backup-", dir=path.absolute().parent) as directory:
        yield Path(directory)


def _existing(connection: sa.Connection) -> Iterator[sa.Table]:
    """The tables of this version, each with the columns that the database has."""
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    for table in metadata.sorted_tables:
        if table.name in there:
            names = {column["name"] for column in inspector.get_columns(table.name)}
            columns = (
                sa.Column(c.name, c.type, primary_key=c.primary_key) for c in table.c if c.name in names
            )
            yield sa.Table(table.name, sa.MetaData(), *columns)


def _columns(table: sa.Table) -> dict[str, Kind]:
    return {column.name: _kind(column) for column in table.c}


def _kind(column: sa.Column[Any]) -> Kind:
    return next(kind for known, kind in _KINDS if isinstance(column.type, known))


def _rows(connection: sa.Connection, table: sa.Table) -> Iterator[sa.Row[Any]]:
    query = sa.select(table).order_by(*table.primary_key.columns)
    streamed = connection.execution_options(stream_results=True, yield_per=_ROWS_AT_ONCE)
    yield from streamed.execute(query)
