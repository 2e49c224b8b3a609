"""What PostgreSQL says, cheaply, of how a plan reads it."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import sql

from headrace.ports import Examination, ReadPlan
from headrace.sources.postgres_catalogue import PostgresRelation

Connection = psycopg.Connection[tuple[Any, ...]]

# Trees alone have an order. An expression has no column, and ends what of the index serves.
_INDEXES: Final = """
SELECT ARRAY(SELECT coalesce(a.attname::text, '')
             FROM unnest(i.indkey::int[]) WITH ORDINALITY AS k(attnum, position)
             LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
               AND a.attnum > 0
             WHERE k.position <= i.indnkeyatts ORDER BY k.position)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = c.relam
WHERE i.indrelid = %(oid)s AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree'
"""
_RELATION: Final = """
SELECT relkind IN ('r', 'p', 'm'), relnamespace::regnamespace::text || '.' || quote_ident(relname)
FROM pg_catalog.pg_class WHERE oid = %(oid)s
"""
_TIME_ZONE: Final = "SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'TimeZone'"


def examine(
    connection: Connection, relation: PostgresRelation, plan: ReadPlan, *, limit_s: float
) -> Examination:
    """See `SourceReader.examine`; the connection is in no transaction."""
    if plan.cursor is None or relation.oid is None:
        return Examination()
    kept, name = connection.execute(_RELATION, {"oid": relation.oid}).fetchone() or (False, "")
    if not kept:
        return Examination()
    cursor = relation.column(plan.cursor)
    indexes = tuple(tuple(found) for (found,) in connection.execute(_INDEXES, {"oid": relation.oid}))
    leads = any(index[:1] == (plan.cursor,) for index in indexes)
    column = sql.Identifier(plan.cursor)
    asked = _Asking(connection, limit_s)
    nulls = newest = None
    if cursor.facts.nullable:
        # Served by the index if there is one; else as many rows are looked at as the time limit lets.
        nulls = asked.value(
            sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NULL)").format(relation.source, column)
        )
    if leads:
        finite = sql.SQL("WHERE isfinite({})").format(column) if cursor.base in _TIMES else sql.SQL("")
        greatest = sql.SQL("SELECT max({})::text FROM {} {}").format(column, relation.source, finite)
        newest = asked.value(greatest)
    zone = connection.execute(_TIME_ZONE).fetchone()
    return Examination(
        indexes=indexes,
        index_statement=_index_statement(connection, name, plan),
        null_cursors=nulls if cursor.facts.nullable else False,
        newest=newest,
        naive=cursor.base == "timestamp",
        time_zone=None if zone is None else zone[0],
        slow=asked.slow,
    )


_TIMES: Final = frozenset({"date", "timestamp", "timestamptz"})


def _index_statement(connection: Connection, name: str, plan: ReadPlan) -> str:
    columns = sql.SQL(", ").join(map(sql.Identifier, dict.fromkeys((plan.cursor or "", *plan.key))))
    return f"CREATE INDEX CONCURRENTLY ON {name} ({columns.as_string(connection)})"


class _Asking:
    """One value a statement, none where it would take longer than is waited."""

    def __init__(self, connection: Connection, limit_s: float) -> None:
        self._connection = connection
        self._limit = sql.SQL(f"SET LOCAL statement_timeout = {int(limit_s * 1000)}")
        self.slow = False

    def value(self, statement: sql.Composed) -> Any:
        try:
            with self._connection.transaction():
                self._connection.execute(self._limit)
                row = self._connection.execute(statement).fetchone()
        except psycopg.errors.QueryCanceled:
            self.slow = True
            return None
        return None if row is None else row[0]
