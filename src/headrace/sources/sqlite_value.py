"""SQLite's values as texts and back: types are dynamic, so a text is bound as what the column can hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

_WHOLE: Final = re.compile(r"-?(0|[1-9]\d*)")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf")
_INT64: Final = range(-(2**63), 2**63)
_TEXTS: Final = frozenset({bytes})
_ARROW_TYPES: Final[Mapping[frozenset[type], pa.DataType]] = {
    frozenset(): pa.null(),
    _TEXTS: pa.binary(),
    frozenset({int}): pa.int64(),
    frozenset({float}): pa.float64(),
    frozenset({int, float}): pa.float64(),
}
_HEX_BYTES: Final = re.compile(r"\\x([0-9a-f]{2})*")

Value = int | float | str | bytes


def typed_value(text: str, *, numeric: bool) -> Value:
    """The value that a column shows as `text`. `numeric`: the column holds numbers where it can."""
    if not numeric:
        return text
    if _WHOLE.fullmatch(text) and int(text) in _INT64:
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def bytes_shown(text: str) -> Value:
    """The bytes that a column without affinity shows as `\\x…`, else the text itself."""
    return bytes.fromhex(text[2:]) if _HEX_BYTES.fullmatch(text) else text


def rank_value(value: Value) -> tuple[int, Any]:
    """Compares as SQLite compares: numbers, then texts bytewise, then bytes."""
    if isinstance(value, bytes):
        return (2, value)
    return (1, value.encode()) if isinstance(value, str) else (0, value)


def text_column(values: Sequence[Any]) -> pa.Array[Any]:
    """The values' own texts as utf8, null where None. Texts come as bytes; what is no UTF-8 is shown
    as `\\xNN`.

    Floats show the fewest digits that give the same float back: 1.54 is "1.54", 3.0 is "3".
    """
    kinds = frozenset(map(type, values)) - {type(None)}
    if kinds not in _ARROW_TYPES:
        return pa.array([_shown(value) for value in values], pa.string())
    try:
        # The type is given: for guessing it, Arrow looks in vain for pandas, each time.
        typed: pa.Array[Any] = pa.array(values, _ARROW_TYPES[kinds])
        return typed.cast(pa.string())  # bytes in one go, in half the time that it takes one by one
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # kinds are mixed, or bytes are no UTF-8
        return pa.array([_shown(value) for value in values], pa.string())


def _shown(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return None if value is None else str(value)
