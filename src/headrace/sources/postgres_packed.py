"""Many short rows in one value: what a reconciliation reads of a table with short keys.

COPY sends a message for each row, and taking a million of them costs Python more than reading them costs the
server. Where the texts of all columns are short, the server joins them to the CSV that COPY would send.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import sql

from headrace.ports import KeyRange, ReadPlan, Selection
from headrace.sources.postgres_catalogue import PostgresRelation
from headrace.sources.postgres_select import compose_select

_PLAIN: Final = frozenset({"int2", "int4", "int8", "uuid", "date", "timestamp", "timestamptz", "bool"})
"""Types whose texts never need a quote."""
_LONGEST_TEXT: Final = 40
_MOST_BYTES: Final = 32 * 1024 * 1024


def can_pack(relation: PostgresRelation, plan: ReadPlan, selection: Selection) -> bool:
    """The rows of the selection fit one value of bounded size."""
    if not isinstance(selection, KeyRange) or selection.limit is None or selection.limit > plan.page_rows:
        return False
    plain = all(relation.column(name).base in _PLAIN for name in plan.columns)
    return plain and selection.limit * len(plan.columns) * _LONGEST_TEXT <= _MOST_BYTES


def read_packed(
    connection: psycopg.Connection[tuple[Any, ...]],
    relation: PostgresRelation,
    plan: ReadPlan,
    selection: Selection,
    *,
    mark: str,
) -> bytes | None:
    """The rows as CSV in which null is an empty field, from one statement; None when there are none."""
    cells = [sql.Identifier("p", name) for name in plan.columns]
    texts = [sql.SQL("COALESCE(CAST({} AS text), '')").format(cell) for cell in cells]
    # An aggregate takes its rows in the order in which a subquery gives them, and LIMIT keeps the planner
    # from reading that in parallel.
    statement = sql.SQL("SELECT string_agg({}, chr(10)) FROM ({}) AS p").format(
        sql.SQL(" || ',' || ").join(texts), compose_select(relation, plan, selection, mark=mark)
    )
    found = connection.execute(statement).fetchone()
    # A line ends: or a last row that is only a null would be none.
    return found[0].encode() + b"\n" if found and found[0] is not None else None
