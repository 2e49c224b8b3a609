"""Texts of numbers: integers of 64 bits, finite floats, canonical decimals."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

from headrace.domain.arrow import DoubleArray, Int64Array, StringArray, pa, pc

DECIMAL_DIGITS: Final = 1000
"""A decimal has at most so many digits in plain notation, before and after the point together."""

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,8})?")
_PLAIN_DECIMAL: Final = r"\A(?:0|-?[1-9][0-9]{0,200}|(?:-?[1-9][0-9]{0,200}|0)\.[0-9]{1,200})\z"
_INT64: Final = range(-(2**63), 2**63)


def cast_integers(column: StringArray) -> Int64Array:
    """Raises ArrowInvalid when a text is not a plain integer of 64 bits."""
    values = column.cast(pa.int64())
    # Arrow reads 0x10 as sixteen; no database writes an integer so.
    if pc.any(pc.match_substring_regex(column.filter(pc.starts_with(column, "0")), "[xX]")).as_py():
        raise pa.ArrowInvalid("hexadecimal")
    return values


def parse_integer(text: str) -> int | None:
    """Also "+5", "5.0" and "5e3": a number without a fraction, in 64 bits."""
    number = _number(text)
    if number is None or number.adjusted() > 18 or number != number.to_integral_value():
        return None
    integer = int(number)
    return integer if integer in _INT64 else None


def cast_floats(column: StringArray) -> DoubleArray:
    """Raises ArrowInvalid when a text is not a number; infinities and NaN become null."""
    values = column.cast(pa.float64())
    finite = pc.is_finite(values)
    if pc.all(finite).as_py() is False:
        values = pc.if_else(finite, values, pa.scalar(None, pa.float64()))
    return pc.add(values, 0.0)  # -0.0 + 0.0 is 0.0: one zero, as in every comparison


def parse_float(text: str) -> float | None:
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):
        return None
    number = float(stripped)
    return number + 0.0 if math.isfinite(number) else None


def decimals(column: StringArray) -> StringArray:
    """Canonical decimals: plain notation, no trailing zeros, no "-0"; null where not a number."""
    plain = pc.match_substring_regex(column, _PLAIN_DECIMAL)
    if pc.all(plain).as_py() is not False:
        return _without_trailing_zeros(column)
    odd = pc.fill_null(pc.invert(plain), False)
    values = _without_trailing_zeros(column)
    encoded = column.filter(odd).dictionary_encode()
    parsed = pa.array([parse_decimal(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(values, odd, parsed.take(encoded.indices))


def parse_decimal(text: str) -> str | None:
    """The canonical text of any notation of a finite number, of bounded length."""
    number = _number(text)
    if number is None:
        return None
    if not number:
        return "0"
    if abs(number.adjusted()) > DECIMAL_DIGITS:
        return None
    plain = format(number, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return plain if sum(map(str.isdigit, plain)) <= DECIMAL_DIGITS else None


def _number(text: str) -> Decimal | None:
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):
        return None
    return Decimal(stripped)  # exact: a constructor rounds nothing


def _without_trailing_zeros(column: StringArray) -> StringArray:
    trimmed = pc.ascii_rtrim(pc.ascii_rtrim(column, "0"), ".")
    has_point = pc.match_substring(column, ".")
    if pc.all(has_point).as_py() is not False:
        return trimmed
    return pc.if_else(has_point, trimmed, column)
