"""Values of filters as canonical texts of a column's type."""

from __future__ import annotations

from headrace.domain.coercion import coerce_scalar
from headrace.domain.vocabulary import TEXT_TYPES, FilterOp, PropertyType

Value = str | int | float

_TEXT_OPS = frozenset({FilterOp.CONTAINS, FilterOp.NOT_CONTAINS, FilterOp.STARTS_WITH})
_EQUALITY = frozenset({FilterOp.EQ, FilterOp.NE, FilterOp.IN, FilterOp.NOT_IN})
_PRESENCE = frozenset({FilterOp.EXISTS, FilterOp.NOT_EXISTS})
_FITTING = {
    PropertyType.BOOLEAN: "write true or false",
    PropertyType.INTEGER: "write an integer of 64 bits",
    PropertyType.FLOAT: "write a finite number",
    PropertyType.DECIMAL: "write a finite number",
    PropertyType.DATE: 'write a date such as "2024-01-31"',
    PropertyType.DATETIME: 'write a date and time such as "2024-01-31T12:00:00Z"',
}


def operator_fault(op: FilterOp, type_: PropertyType) -> str | None:
    """Why an operator does not suit a column of this type, or None."""
    if op in _PRESENCE or type_ in TEXT_TYPES:
        return None
    if type_ is PropertyType.JSON:
        return f"{op} cannot compare json; use exists or not_exists"
    if op in _TEXT_OPS:
        return f"{op} compares texts, but the column is read as {type_}; use eq or in"
    if type_ is PropertyType.BOOLEAN and op not in _EQUALITY:
        return f"{op} cannot compare booleans; use eq or ne"
    return None


def canonical_text(value: Value, type_: PropertyType, time_zone: str) -> str:
    """The canonical text of a value as this type (a date-time without zone is in `time_zone`).

    Raises:
        ValueError: the value does not fit; the message says what would.
    """
    # A filter may hold a part of an email or phone number, or one that is none: it compares as text.
    read_as = PropertyType.STRING if type_ in TEXT_TYPES else type_
    text = coerce_scalar(_written(value), read_as, time_zone=time_zone)
    if text is None:
        raise ValueError(_FITTING.get(read_as, "write a text without NUL characters"))
    return text


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
