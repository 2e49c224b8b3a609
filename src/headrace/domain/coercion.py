"""From the source's own text to typed columns: one meaning of every text, whatever the source.

Whole columns are cast at once; a slice that Arrow cannot cast is cut up until what does not fit is
found, and only those few cells are parsed in Python, by the functions of `number_text`, `time_text`
and `json_text` (tests/properties/test_coercion.py proves that both ways mean the same).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from headrace.domain import json_text, number_text, time_text
from headrace.domain.arrow import Array, BooleanArray, ChunkedArray, DataType, StringArray, pa, pc
from headrace.domain.column_text import REASONS as TEXT_REASONS
from headrace.domain.column_text import boolean_values, checked_texts
from headrace.domain.vocabulary import ARROW_TYPES, TEXT_TYPES, PropertyType


@dataclass(frozen=True, slots=True)
class Coerced:
    """A typed column of as many values as there were texts.

    Attributes:
        values: of `ARROW_TYPES`; null where the text was null or does not fit.
        invalid: true where a text does not fit (never null); None when all fit.
        reason: why such a text does not fit, short and the same for every cell of a type.
    """

    values: Array
    invalid: BooleanArray | None
    reason: str


REASONS: Final[dict[PropertyType, str]] = {
    PropertyType.BOOLEAN: "is not true or false",
    PropertyType.INTEGER: "is not an integer of 64 bits",
    PropertyType.FLOAT: "is not a finite number",
    PropertyType.DECIMAL: "is not a finite decimal number of at most 1000 digits",
    PropertyType.DATE: "is not a date from 0001 to 9999",
    PropertyType.DATETIME: "is not a date and time from 0001 to 9999",
    PropertyType.JSON: "is not JSON that can be stored",
    **TEXT_REASONS,
}


def coerce(
    texts: Array | ChunkedArray,
    type: PropertyType,  # noqa: A002
    *,
    time_zone: str,
) -> Coerced:
    """Type a column of texts; what does not fit is null and marked, never an error.

    Args:
        texts: utf8, in the source's own text.
        type: the property type to give them.
        time_zone: IANA name; the zone of date-times without an offset and of the dates of date-times
            with one.
    """
    column = _one_array(texts)
    values = _values(column, type, time_zone)
    if values.null_count == column.null_count:
        return Coerced(values, None, REASONS[type])
    invalid = pc.and_(pc.is_null(values), pc.is_valid(column))
    return Coerced(values, invalid, REASONS[type])


def coerce_scalar(text: str, type: PropertyType, *, time_zone: str = "UTC") -> str | None:  # noqa: A002
    """The canonical text of a value that a person gave; None when it does not fit the type."""
    values = coerce(pa.array([text], pa.string()), type, time_zone=time_zone).values
    text_of: str | None = canonical_text(values)[0].as_py()
    return text_of


def canonical_text(array: Array | ChunkedArray) -> StringArray:
    """The one text of each typed value: integers plain, dates ISO, date-times
    `YYYY-MM-DDTHH:MM:SS.ffffffZ`, booleans true and false, floats the shortest text that reads back
    (as Python's repr). Decimals, JSON and texts are canonical already."""
    values = _one_array(array, keep_type=True)
    if pa.types.is_timestamp(values.type):
        return time_text.canonical_datetimes(values)
    if pa.types.is_floating(values.type):
        return pa.array([None if v is None else repr(v) for v in values.to_pylist()], pa.string())
    return values if values.type == pa.string() else values.cast(pa.string())


def _values(column: StringArray, kind: PropertyType, time_zone: str) -> Array:
    if kind in TEXT_TYPES:
        return checked_texts(column, kind)
    match kind:
        case PropertyType.BOOLEAN:
            return boolean_values(column)
        case PropertyType.DECIMAL:
            return number_text.decimals(column)
        case PropertyType.JSON:
            return json_text.canonical_json(column)
        case PropertyType.INTEGER:
            return _cast(column, number_text.cast_integers, number_text.parse_integer, kind)
        case PropertyType.FLOAT:
            return _cast(column, number_text.cast_floats, number_text.parse_float, kind)
        case PropertyType.DATE:
            zone = time_text.Zone(time_zone)
            return _cast(column, zone.cast_dates, zone.parse_date, kind)
        case _:
            zone = time_text.Zone(time_zone)
            return _cast(column, zone.cast_datetimes, zone.parse_datetime, kind)


def _cast(
    column: StringArray,
    cast: Callable[[StringArray], Array],
    parse: Callable[[str], Any],
    kind: PropertyType,
) -> Array:
    pieces = _cast_pieces(column, cast, parse, ARROW_TYPES[kind])
    return pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)


_LEAF_CELLS: Final = 32
_PARTS: Final = 16


def _cast_pieces(
    column: StringArray,
    cast: Callable[[StringArray], Array],
    parse: Callable[[str], Any],
    arrow_type: DataType,
) -> list[Array]:
    """Cast the column whole, or else its sixteenths: a few wide levels, because Arrow makes an error
    (2 microseconds) of every bad cell of a failing cast, and a column that is all bad meets each level."""
    try:
        return [cast(column)]
    except pa.ArrowInvalid:
        pass
    if len(column) <= _LEAF_CELLS:
        parsed = [None if text is None else parse(text) for text in column.to_pylist()]
        return [pa.array(parsed, arrow_type)]
    step = max(_LEAF_CELLS, len(column) // _PARTS + 1)
    parts = (column.slice(start, step) for start in range(0, len(column), step))
    return [piece for part in parts for piece in _cast_pieces(part, cast, parse, arrow_type)]


def _one_array(array: Array | ChunkedArray, *, keep_type: bool = False) -> Array:
    one = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return one if keep_type or one.type == pa.string() else one.cast(pa.string())
