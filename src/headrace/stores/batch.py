"""Batches of rows as Arrow tables, made fit for a merge without a loop over rows."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from headrace.domain.vocabulary import DELETED, INVALID


def storable_invalid(rows: pa.Table) -> pa.Table:
    """`_invalid` without the escape of a NUL character, which no jsonb takes: it shows as U+FFFD."""
    position = rows.schema.get_field_index(INVALID)
    column = rows.column(position).cast(pa.string())
    if column.null_count == len(column):
        return rows
    return rows.set_column(position, INVALID, pc.replace_substring(column, "\\u0000", "\\ufffd"))


def any_deleted(rows: pa.Table) -> bool:
    return bool(pc.any(rows.column(DELETED)).as_py())


def kept_rows(rows: pa.Table) -> int:
    """How many are not deleted."""
    return rows.num_rows - int(pc.sum(rows.column(DELETED)).as_py() or 0)
