"""Where a page ends, and what its cursors may be."""

from __future__ import annotations

from typing import Final

from headrace.domain.arrow import ChunkedArray, Table
from headrace.domain.oversize import MARK, is_oversized, oversized
from headrace.domain.position import Position
from headrace.errors import SourceDriftError
from headrace.ports import ReadPlan

_NO_TEXT: Final = MARK[0]


def end_of(rows: Table, plan: ReadPlan, *, by_cursor: bool) -> Position:
    """The place of the last row. Without a key where a part of it is null or too big, or a text that no
    type takes and that readers may show otherwise: such a row cannot be resumed after, only read again.

    Raises:
        SourceDriftError: a cursor is too big to travel, so that nobody can say where reading is.
    """
    last = rows.num_rows - 1
    key = tuple(rows.column(name)[last].as_py() for name in plan.key)
    cursor = rows.column(plan.cursor)[last].as_py() if by_cursor and plan.cursor else ""
    if by_cursor and plan.cursor:
        _refuse_oversized(rows.column(plan.cursor), plan.cursor)
    whole = not any(part is None or part.startswith(_NO_TEXT) for part in key)
    return Position(cursor, key if whole else None)


def _refuse_oversized(cursors: ChunkedArray, name: str) -> None:
    marked = cursors.filter(is_oversized(cursors))
    big = oversized(marked[0].as_py()) if len(marked) else None
    if big is not None:
        raise SourceDriftError(
            f"a value of the cursor {name} {big.reason}; shorten it, or read by another cursor"
        )
