"""Where a page ends."""

from __future__ import annotations

import pyarrow as pa

from headrace.domain.position import Position
from headrace.ports import ReadPlan


def end_of(rows: pa.Table, plan: ReadPlan, *, by_cursor: bool) -> Position:
    """The place of the last row. Without a key where a part of it is null: such a row cannot be resumed
    after, only read again."""
    last = rows.num_rows - 1
    key = tuple(rows.column(name)[last].as_py() for name in plan.key)
    cursor = rows.column(plan.cursor)[last].as_py() if by_cursor and plan.cursor else ""
    return Position(cursor, None if None in key else key)
