"""A control database put back from a backup, as it was then.

What was done since is not forgotten everywhere: data sources have applied more than control knows. Merges and
the sweeper recognise that (`steps.standing`): the log begins anew, and the feed is compared in full with that
data source.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from headrace.control.audit import AuditLine, append_audit
from headrace.control.backup_file import Kind, Manifest, TableManifest, read_table, unpack
from headrace.control.engine import make_directory
from headrace.control.schema import is_unknown, upgrade_within, upgrading
from headrace.control.tables import RunState, feed, metadata, run, workspace
from headrace.control.types import Json, Timestamp, now
from headrace.errors import ConfigurationError, ErrorCode

ROWS_AT_ONCE: Final = 500
_TYPES: Final[dict[Kind, sa.types.TypeEngine[Any]]] = {
    Kind.TEXT: sa.Text(),
    Kind.INTEGER: sa.BigInteger(),
    Kind.FLOAT: sa.Double(),
    Kind.BOOLEAN: sa.Boolean(),
    Kind.JSON: Json,
    Kind.TIME: Timestamp(),
    Kind.BYTES: sa.LargeBinary(),
}
_VERSION: Final = "alembic_version"


def restore(engine: sa.Engine, path: Path, *, actor: str) -> Manifest:
    """The control database is as the backup has it, with every migration of this version; in one transaction.

    No lease is held and no run is under way: whoever worked at the time of the backup works no more.

    Raises:
        ConfigurationError: the file is damaged or of a newer version, or there is a control database already.
            Nothing was changed.
    """
    return _restored(engine, path, actor=actor, emptied=_refuse_existing)


def replace(engine: sa.Engine, path: Path, *, actor: str) -> Manifest:
    """As `restore`; what this installation's control database held before is gone.

    Raises:
        ConfigurationError: as `restore`, or the database is another installation's.
    """
    return _restored(engine, path, actor=actor, emptied=_drop_own)


def _restored(
    engine: sa.Engine, path: Path, *, actor: str, emptied: Callable[[sa.Connection, Manifest], None]
) -> Manifest:
    with tempfile.TemporaryDirectory(prefix="headrace-restore-") as unpacked:
        directory = Path(unpacked)
        manifest = unpack(path, directory)
        if is_unknown(manifest.revision):
            raise ConfigurationError(
                f"{path} was made by Headrace {manifest.made_by} (revision {manifest.revision}), which is"
                " newer than this one: update Headrace; nothing was changed",
                code=ErrorCode.BACKUP_NEWER,
            )
        make_directory(engine)
        with upgrading(engine) as connection:
            emptied(connection, manifest)
            upgrade_within(connection, to=manifest.revision)
            _load(connection, manifest, directory)
            upgrade_within(connection)
            _forget_workers(connection)
            detail = {"made_at": manifest.made_at.isoformat(), "rows": manifest.rows}
            append_audit(connection, AuditLine(actor=actor, action="control.restore", detail=detail))
    return manifest


# --- what was there ---------------------------------------------------------------------------------


def _refuse_existing(connection: sa.Connection, manifest: Manifest) -> None:
    if sa.inspect(connection).has_table(_VERSION):
        _refuse_foreign(connection, manifest)
        raise ConfigurationError(
            "there is a control database already: stop the processes and give --replace, by which all that"
            " was done since the backup is forgotten; or name a new database in HEADRACE_CONTROL_URL",
            code=ErrorCode.CONTROL_NOT_EMPTY,
        )


def _drop_own(connection: sa.Connection, manifest: Manifest) -> None:
    _refuse_foreign(connection, manifest)
    there = set(sa.inspect(connection).get_table_names())
    names = [n for n in (_VERSION, *(t.name for t in reversed(metadata.sorted_tables))) if n in there]
    if connection.dialect.name == "sqlite":
        connection.execute(sa.text("PRAGMA defer_foreign_keys = ON"))
    for name in names:
        connection.execute(sa.text(f'DROP TABLE "{name}"'))


def _refuse_foreign(connection: sa.Connection, manifest: Manifest) -> None:
    if not sa.inspect(connection).has_table(workspace.name):
        return
    found = connection.execute(sa.select(workspace.c.id)).scalar_one_or_none()
    if found not in {None, manifest.workspace}:
        raise ConfigurationError(
            f"the control database is of installation {found}, the backup of {manifest.workspace}, whose data"
            " sources it could not write to: name another database in HEADRACE_CONTROL_URL; nothing was"
            " changed",
            code=ErrorCode.BACKUP_FOREIGN,
        )


# --- what is put back -------------------------------------------------------------------------------


def _load(connection: sa.Connection, manifest: Manifest, directory: Path) -> None:
    tables = [_table(table) for table in manifest.tables]
    for table in reversed(tables):  # migrations have put rows into some
        connection.execute(sa.delete(table))
    for described, table in zip(manifest.tables, tables, strict=True):
        later = _references_to_itself(table.name)
        for rows in _slices(read_table(directory, described)):
            connection.execute(sa.insert(table), [{**row, **dict.fromkeys(later)} for row in rows])
        if later:
            _refer(connection, table, read_table(directory, described), later)
        _go_on_counting(connection, table)


def _table(described: TableManifest) -> sa.Table:
    """As it was when the backup was made, for its rows alone."""
    key = metadata.tables[described.name].primary_key.columns.keys()
    columns = (
        sa.Column(name, _TYPES[kind], primary_key=name in key) for name, kind in described.columns.items()
    )
    return sa.Table(described.name, sa.MetaData(), *columns)


def _references_to_itself(name: str) -> list[str]:
    """Columns that are filled when all rows are there."""
    table = metadata.tables[name]
    return [key.parent.name for key in table.foreign_keys if key.column.table is table]


def _refer(
    connection: sa.Connection, table: sa.Table, rows: Iterator[dict[str, Any]], columns: list[str]
) -> None:
    key = [column.name for column in table.primary_key.columns]
    where = [table.c[name] == sa.bindparam(f"of_{name}") for name in key]
    statement = sa.update(table).where(*where).values({name: sa.bindparam(f"to_{name}") for name in columns})
    referring = (row for row in rows if any(row[name] is not None for name in columns))
    for some in _slices(referring):
        values = [{f"of_{n}": row[n] for n in key} | {f"to_{n}": row[n] for n in columns} for row in some]
        connection.execute(statement, values)


def _go_on_counting(connection: sa.Connection, table: sa.Table) -> None:
    """Generated numbers go on behind the highest; SQLite sees to it by itself."""
    if connection.dialect.name != "postgresql":
        return
    for column in metadata.tables[table.name].primary_key.columns:
        if column.autoincrement is True:
            sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
            highest = sa.select(sa.func.max(table.c[column.name])).scalar_subquery()
            connection.execute(sa.select(sa.func.setval(sequence, sa.func.coalesce(highest, 0) + 1, False)))


def _forget_workers(connection: sa.Connection) -> None:
    """Whoever held a lease then is not to write now."""
    connection.execute(sa.update(feed).values(lease_id=None, lease_until=None, sent_at=None))
    ended = {"state": RunState.INCOMPLETE.value, "ended_at": now()}
    connection.execute(sa.update(run).where(run.c.state == RunState.RUNNING.value).values(ended))


def _slices(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while some := list(islice(rows, ROWS_AT_ONCE)):
        yield some
