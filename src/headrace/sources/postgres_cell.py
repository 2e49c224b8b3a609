"""Guards a cell: what is too big stays in the server, and a mark travels in its place.

The mark is a text that nobody can guess, so that no value of a source is taken for one; it is found by one
look at the copied bytes. A trailing column that named the big cells would cost the comparison of each cell
a second time.
"""

from __future__ import annotations

from typing import Final

from psycopg import sql

from headrace.domain.oversize import BEGINNING_CHARACTERS

_TEXTS: Final = frozenset({"text", "varchar", "bpchar"})
# Of these octet_length() reads the size alone, and left() and substring() only as much as they return.
_SIZES: Final = dict.fromkeys(_TEXTS, "octet_length({cell})") | {"bytea": "2 * octet_length({cell}) + 2"}
_BEGINNINGS: Final = dict.fromkeys(_TEXTS, "left({cell}, {characters})") | {
    "bytea": "'\\x' || encode(substring({cell} FROM 1 FOR {characters} / 2 - 1), 'hex')"
}
_SPREAD: Final = 2048
"""A stored value can be so many times smaller than its text: compression saves up to 255 times, and of
bits each is a digit."""
_ELEMENT_BYTES: Final = 8
"""Of an array's null, the one element that takes no room."""


def guarded(cell: sql.Composable, base: str, *, limit: int, mark: str) -> sql.Composable:
    """The cell, or `<mark><size>:<beginning>` in its place when its text has more than `limit` bytes.

    concat() shows a value as COPY does, by its type's own output function.
    """
    size = _SIZES.get(base, "octet_length(concat({cell}))")
    too_big = f"{size} > {{limit}}"
    if base not in _SIZES:
        # The text is made only where the stored size, which is read from the row, may lead to a big one.
        may_be = f"pg_column_size({{cell}}) > {{limit}} / {_SPREAD}"
        if base.startswith("_"):
            may_be = f"({may_be} OR cardinality({{cell}}) > {{limit}} / {_ELEMENT_BYTES})"
        too_big = f"{may_be} AND {too_big}"
    beginning = _BEGINNINGS.get(base, "''")
    cast = " :: bpchar" if base == "bpchar" else ""  # as text it would lose its trailing blanks
    others = "ELSE {cell}" if base in _TEXTS else "WHEN {cell} IS NOT NULL THEN concat({cell})"
    return sql.SQL(
        f"CASE WHEN {too_big} THEN ({{mark}} || {size} || ':' || {beginning}){cast} {others} END"
    ).format(
        cell=cell,
        limit=sql.Literal(limit),
        mark=sql.Literal(mark),
        characters=sql.Literal(BEGINNING_CHARACTERS),
    )
