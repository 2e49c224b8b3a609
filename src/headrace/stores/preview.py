"""Implements `ports.records.Preview`: one read-only statement a look, of bounded time and size, rolled back.

No SQL and no name comes from who asks: a table is one that the catalogue has, or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headrace.domain.vocabulary import CUSTOMER
from headrace.ports.records import PreviewRows, PreviewTable
from headrace.stores.dialect import Binds, Connections, Dialect, Session
from headrace.stores.ownership import Ownership

TIMEOUT_S: Final = 5
MOST_CHARACTERS: Final = 1_000_000
"""Of all values of one look together."""
_LONGEST: Final = 1_000
_SHORTEST: Final = 8

# Tables alone: whoever owns the database may have views that call anything.
_TABLES: Final = {
    "postgres": """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = {namespace} AND c.relkind IN ('r', 'p')
ORDER BY c.relname COLLATE "C", a.attnum
""",
    "sqlite": """
SELECT m.name, p.name, p.type FROM main.sqlite_master AS m JOIN pragma_table_info(m.name) AS p
WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite@_%' ESCAPE '@' AND m.sql NOT LIKE 'CREATE VIRTUAL%'
  AND {namespace} IS NOT NULL
ORDER BY m.name, p.cid
""",
}
_CELL: Final = {
    "postgres": "left(CAST({column} AS text), {length})",
    # What is no text may be no UTF-8 either.
    "sqlite": "CASE typeof({column}) WHEN 'blob' THEN hex(substr({column}, 1, {length} / 2))"
    " ELSE substr(CAST({column} AS TEXT), 1, {length}) END",
}


class SqlPreview:
    """Looks at one data source."""

    def __init__(self, connections: Connections, ownership: Ownership) -> None:
        self._connections = connections
        self._ownership = ownership

    def tables(self) -> tuple[PreviewTable, ...]:
        with self._connections.looking(timeout_s=TIMEOUT_S) as session:
            self._ownership.check_once(session)
            return self._tables(session)

    def rows(self, table: str, *, limit: int, customer: str | None) -> PreviewRows | None:
        with self._connections.looking(timeout_s=TIMEOUT_S) as session:
            self._ownership.check_once(session)
            found = next((t for t in self._tables(session) if t.name == table), None)
            if found is None:
                return None
            names = [name for name, _ in found.columns]
            if customer is not None and CUSTOMER not in names:
                return PreviewRows(found, (), truncated=False, cut=False)
            existing = self._connections.existing(session, table)
            longest = _longest(len(names), limit)
            sql, binds = _select(
                session.dialect,
                found,
                key=existing.key if existing else (),
                limit=limit,
                customer=customer,
                length=longest + 1,
            )
            rows = session.all(sql, binds)
        cut = any(value is not None and len(value) > longest for row in rows for value in row)
        shown = tuple(tuple(_shortened(value, longest) for value in row) for row in rows[:limit])
        return PreviewRows(found, shown, truncated=len(rows) > limit, cut=cut)

    def _tables(self, session: Session) -> tuple[PreviewTable, ...]:
        binds = Binds(session.dialect)
        namespace = getattr(session.dialect, "namespace", "main")
        sql = _TABLES[session.dialect.name].format(namespace=binds.text(namespace))
        columns: dict[str, list[tuple[str, str]]] = {}
        for table, column, type_ in session.all(sql, binds):
            columns.setdefault(table, []).append((column, type_))
        return tuple(PreviewTable(name, tuple(of_table)) for name, of_table in columns.items())


def _select(
    dialect: Dialect,
    table: PreviewTable,
    *,
    key: Sequence[str],
    limit: int,
    customer: str | None,
    length: int,
) -> tuple[str, Binds]:
    """One row more than is shown tells whether there are more."""
    q, binds = dialect.quote, Binds(dialect)
    cells = ", ".join(
        _CELL[dialect.name].format(column=f"r.{q(name)}", length=length) for name, _ in table.columns
    )
    where = "" if customer is None else f" WHERE r.{q(CUSTOMER)} = {binds.text(customer)}"
    order = f" ORDER BY {', '.join(f'r.{q(name)}' for name in key)}" if key else ""
    sql = f"SELECT {cells} FROM {dialect.table(table.name)} AS r{where}{order} LIMIT {binds.add(limit + 1)}"
    return sql, binds


def _longest(columns: int, limit: int) -> int:
    """How long a value may be told, so that all of them are bounded."""
    return max(_SHORTEST, min(_LONGEST, MOST_CHARACTERS // (columns * (limit + 1))))


def _shortened(value: str | None, longest: int) -> str | None:
    return value if value is None or len(value) <= longest else value[:longest]
