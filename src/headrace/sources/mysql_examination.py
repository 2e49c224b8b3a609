"""What MySQL and MariaDB say, cheaply, of how a plan reads them."""

from __future__ import annotations

from typing import Any, Final

from pymysql import err  # type: ignore[import-untyped]

from headrace.ports import Examination, ReadPlan
from headrace.sources.mysql_catalogue import MysqlRelation, whole_indexes
from headrace.sources.mysql_column import OFFSET, quoted
from headrace.sources.mysql_connection import MysqlConnection
from headrace.sources.mysql_dependence import in_from

_TIME_ZONE: Final = "SELECT IF(@@GLOBAL.time_zone = 'SYSTEM', @@system_time_zone, @@GLOBAL.time_zone)"
_INTERRUPTED: Final = frozenset({1969, 3024})
"""A statement ran into its time limit: MariaDB's and MySQL's numbers."""


def examine(
    connection: MysqlConnection, relation: MysqlRelation, plan: ReadPlan, *, limit_s: float
) -> Examination:
    """See `SourceReader.examine`."""
    if plan.cursor is None or relation.place is None:
        return Examination()
    cursor, column = relation.column(plan.cursor), quoted(plan.cursor)
    indexes = whole_indexes(connection, *relation.place)
    leads = any(index[:1] == (plan.cursor,) for index in indexes)
    asked = _Asking(connection, limit_s)
    nulls = newest = None
    if cursor.facts.nullable:
        nulls = asked.value(f"SELECT 1 FROM {relation.source} WHERE {column} IS NULL LIMIT 1") is not None
    if leads:
        newest = asked.value(f"SELECT CAST(MAX({column}) AS CHAR) FROM {relation.source}")
        newest = None if newest is None or newest.startswith("0000") else newest
    if newest is not None and cursor.kind == "timestamp":
        newest += OFFSET
    return Examination(
        indexes=indexes,
        index_statement=_index_statement(relation, plan),
        null_cursors=None if asked.slow and not nulls else bool(nulls),
        newest=newest,
        naive=cursor.kind == "datetime",
        time_zone=connection.ask(_TIME_ZONE)[0][0],
        slow=asked.slow,
    )


def _index_statement(relation: MysqlRelation, plan: ReadPlan) -> str:
    columns = dict.fromkeys((plan.cursor or "", *plan.key))
    name = quoted("_".join(("headrace", plan.cursor or "")))
    where = in_from(relation.place) if relation.place else relation.source
    return f"CREATE INDEX {name} ON {where} ({', '.join(map(quoted, columns))})"


class _Asking:
    """One value a statement, none where it would take longer than is waited."""

    def __init__(self, connection: MysqlConnection, limit_s: float) -> None:
        self._connection = connection
        self._limit_s = limit_s
        self.slow = False

    def value(self, statement: str) -> Any:
        if self._connection.is_mariadb:
            limited = f"SET STATEMENT max_statement_time = {self._limit_s} FOR {statement}"
        else:
            hint = f"SELECT /*+ MAX_EXECUTION_TIME({int(self._limit_s * 1000)}) */ "
            limited = statement.replace("SELECT ", hint, 1)
        try:
            rows = self._connection.ask(limited)
        except err.MySQLError as error:
            if error.args and error.args[0] in _INTERRUPTED:
                self.slow = True
                return None
            raise
        return rows[0][0] if rows else None
