"""A cell on its way: what is selected for it, and which text it becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from headrace.domain.arrow import StringArray, Table, pa, pc
from headrace.domain.oversize import BEGINNING_CHARACTERS
from headrace.sources.mysql_column import OFFSET, MysqlColumn, text_literal
from headrace.sources.mysql_stream import Cells


def shown(column: MysqlColumn, *, limit: int, mark: str) -> str:
    """The SQL of a cell; `<mark><size>:<beginning>` when its text has more than `limit` bytes."""
    cell = column.plain
    match column.kind:
        case "bit":
            return f"{cell} + 0"
        case "float":  # shown by itself it is cut to six digits
            return f"{cell} + 0e0"
        case "geometry":
            cell = f"ST_AsText({cell})"
    if column.longest is not None and column.longest <= limit:
        return cell
    size, beginning = f"OCTET_LENGTH({cell})", f"LEFT({cell}, {BEGINNING_CHARACTERS})"
    if column.kind == "binary":
        size = f"2 * {size} + 2"
        beginning = f"'\\\\x', LOWER(HEX(LEFT({cell}, {BEGINNING_CHARACTERS // 2 - 1})))"
    marked = f"CONCAT({text_literal(mark)}, {size}, ':', {beginning})"
    return f"CASE WHEN {size} > {limit:d} THEN {marked} ELSE {cell} END"


def text_table(columns: Sequence[MysqlColumn], cells: Sequence[Cells], *, mark: str) -> Table:
    """One utf8 column for each."""
    texts = [_texts(column, values, mark) for column, values in zip(columns, cells, strict=True)]
    return pa.Table.from_arrays(texts, names=[column.facts.name for column in columns])


def _texts(column: MysqlColumn, values: Cells, mark: str) -> StringArray:
    if column.kind == "binary":
        return pa.array([_shown_bytes(value, mark.encode()) for value in values], pa.string())
    try:
        texts = pa.array(values, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:  # what an old server let in
        texts = pa.array(
            [value if value is None else value.decode("utf-8", "backslashreplace") for value in values]
        )
    return _KINDS.get(column.kind, _unchanged)(texts)


def _shown_bytes(value: bytes | None, mark: bytes) -> str | None:
    if value is None:
        return None
    return value.decode() if value.startswith(mark) else f"\\x{value.hex()}"


def _unchanged(texts: StringArray) -> StringArray:
    return texts


def _with_offset(texts: StringArray) -> StringArray:
    return pc.binary_join_element_wise(texts, OFFSET, "")


def _shortest(texts: StringArray) -> StringArray:
    """The fewest digits that give the same float of four bytes back: 9.99 for 9.989999771118164."""
    return texts.cast(pa.float64()).cast(pa.float32()).cast(pa.string())


_KINDS: Final[dict[str, Callable[[StringArray], StringArray]]] = {
    "timestamp": _with_offset,
    "float": _shortest,
}
