"""What a SQLite file says, cheaply, of how a plan reads it."""

from __future__ import annotations

import sqlite3

from headrace.ports import Examination, ReadPlan
from headrace.sources.sqlite_catalogue import SqliteRelation, quoted, whole_indexes
from headrace.sources.sqlite_fence import extremes
from headrace.sources.sqlite_select import column_sql
from headrace.sources.sqlite_value import Value


def examine(connection: sqlite3.Connection, relation: SqliteRelation, plan: ReadPlan) -> Examination:
    """See `SourceReader.examine`; whoever calls limits the time."""
    if plan.cursor is None or relation.table is None:
        return Examination()
    indexes = whole_indexes(connection, relation.table)
    slow, nulls, newest = False, None, None
    try:
        if relation.column(plan.cursor).facts.nullable:
            where = f"{column_sql(plan.cursor)} IS NULL"
            asked = connection.execute(f"SELECT EXISTS (SELECT 1 FROM {relation.source} AS q WHERE {where})")
            nulls = bool(asked.fetchone()[0])
        else:
            nulls = False
        if any(index[:1] == (plan.cursor,) for index in indexes):
            newest = next(reversed(extremes(connection, relation, plan.cursor)), None)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        slow = True
    columns = ", ".join(map(quoted, dict.fromkeys((plan.cursor, *plan.key))))
    index = quoted(f"{relation.table}_{plan.cursor}")
    return Examination(
        indexes=indexes,
        index_statement=f"CREATE INDEX {index} ON {quoted(relation.table)} ({columns})",
        null_cursors=nulls,
        newest=None if newest is None else _text(newest),
        slow=slow,
    )


def _text(value: Value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
