"""The mark that a server sends in the place of a cell that is too big, and what it becomes here.

It is a text that nobody can guess, so that no value of a source is taken for one.
"""

from __future__ import annotations

import secrets

from headrace.domain.arrow import Array, Table, pa, pc
from headrace.domain.oversize import Oversized, kept_apart


def new_mark() -> str:
    return f"headrace-oversized-{secrets.token_hex(16)}:"


def with_oversized(rows: Table, mark: str, *, limit: int) -> Table:
    """The rows with the marks of `domain.oversize` in the place of those that travelled."""
    columns = [_unwrapped(column.combine_chunks(), mark, limit) for column in rows.columns]
    return pa.Table.from_arrays(columns, names=rows.column_names)


def _unwrapped(texts: Array, mark: str, limit: int) -> Array:
    marked = pc.fill_null(pc.starts_with(texts, mark), False)
    texts, found = kept_apart(texts), []
    for text in texts.filter(marked).to_pylist():
        size, _, beginning = text.removeprefix(mark).partition(":")
        found.append(Oversized(int(size), limit, beginning).mark)
    return pc.replace_with_mask(texts, marked, pa.array(found, pa.string())) if found else texts
