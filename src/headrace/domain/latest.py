"""The rows of a batch that count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headrace.domain.arrow import Table, pa, pc

ORDINAL: Final = "_ordinal"


def last_rows(rows: Table, key: Sequence[str]) -> Table:
    """Of rows with one key only the last, in the order of the table."""
    numbered = rows.select(list(key)).append_column(ORDINAL, pa.arange(0, rows.num_rows))
    last = numbered.group_by(list(key)).aggregate([(ORDINAL, "max")]).column(f"{ORDINAL}_max")
    if len(last) == rows.num_rows:
        return rows
    return rows.take(last.take(pc.sort_indices(last)))
