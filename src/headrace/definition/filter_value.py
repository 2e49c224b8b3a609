"""Values of filters as canonical texts of a column's type."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from headrace.domain.vocabulary import TEXT_TYPES, FilterOp, PropertyType

Value = str | int | float

_TEXT_OPS = frozenset({FilterOp.CONTAINS, FilterOp.NOT_CONTAINS, FilterOp.STARTS_WITH})
_EQUALITY = frozenset({FilterOp.EQ, FilterOp.NE, FilterOp.IN, FilterOp.NOT_IN})
_PRESENCE = frozenset({FilterOp.EXISTS, FilterOp.NOT_EXISTS})
_INT64 = range(-(2**63), 2**63)


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
    if type_ in TEXT_TYPES:
        return _text(value)
    if type_ is PropertyType.BOOLEAN:
        return _boolean(value)
    if type_ is PropertyType.INTEGER:
        return _integer(value)
    if type_ is PropertyType.FLOAT:
        return _float(value)
    if type_ is PropertyType.DECIMAL:
        return decimal_text(_decimal(value))
    if type_ is PropertyType.DATE:
        return _date(value)
    return _datetime(value, time_zone)


def decimal_text(value: Decimal) -> str:
    """Plain notation, no trailing zeros, no "-0"."""
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"-0", ""} else text


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _boolean(value: Value) -> str:
    if not isinstance(value, bool):
        raise ValueError("write true or false")
    return _text(value)


def _integer(value: Value) -> str:
    number = _decimal(value)
    if number != number.to_integral_value() or int(number) not in _INT64:
        raise ValueError("write an integer of 64 bits")
    return str(int(number))


def _float(value: Value) -> str:
    number = float(_decimal(value))
    if math.isinf(number):
        raise ValueError("write a number that a float can hold")
    return repr(number)


def _decimal(value: Value) -> Decimal:
    if isinstance(value, bool):
        raise ValueError("write a number")
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError("write a number") from None
    if not number.is_finite() or abs(number.adjusted()) > 1000:
        raise ValueError("write a finite number")
    return number


def _date(value: Value) -> str:
    try:
        return date.fromisoformat(value if isinstance(value, str) else "").isoformat()
    except ValueError:
        raise ValueError('write a date such as "2024-01-31"') from None


def _datetime(value: Value, time_zone: str) -> str:
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(time_zone))
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError('write a date-time such as "2024-01-31T12:00:00Z"') from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
