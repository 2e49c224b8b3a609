"""JSON texts: canonical (keys sorted, no spaces), numbers kept as they are written."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final, NoReturn

from headrace.domain.arrow import StringArray, pa

NUMBER_DIGITS: Final = 1000
"""Numbers longer than this, written out, are refused: a store's jsonb would refuse or bloat them."""


class _Literal:
    """A number as it is written."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def canonical_json(column: StringArray) -> StringArray:
    """The canonical text of each JSON text; null where it is none that a store can hold."""
    encoded = column.dictionary_encode()
    parsed = [parse_json(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(parsed, pa.string()).take(encoded.indices)


def parse_json(text: str) -> str | None:
    """Canonical, or None: not JSON, NaN or an infinity, a NUL or half a surrogate pair in a string,
    a number without bounds, nested too deep. Of doubled keys the last counts, as in jsonb."""
    exact = False

    def number(literal: str) -> float | _Literal:
        nonlocal exact
        value = float(literal)
        if repr(value) == literal:
            return value
        exact = True
        return _bounded(literal)

    try:
        value = json.loads(text, parse_float=number, parse_int=_integer, parse_constant=_refuse)
        canonical = _dumps(value) if exact else _dumps_plain(value)
        canonical.encode()
        if "\\u0000" in canonical and _has_nul(value):
            return None
    except (ValueError, RecursionError):
        return None
    return canonical


def _dumps_plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _dumps(value: Any) -> str:
    if isinstance(value, _Literal):
        return value.text
    if isinstance(value, dict):
        members = (f"{_dumps_plain(key)}:{_dumps(value[key])}" for key in sorted(value))
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dumps, value)) + "]"
    return _dumps_plain(value)


def _has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(member) for key, member in value.items())
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\0" in value


def _integer(literal: str) -> int:
    if len(literal) > NUMBER_DIGITS:
        raise ValueError("a number without bounds")
    return int(literal)


def _bounded(literal: str) -> _Literal:
    _, _, exponent = literal.lower().partition("e")
    if len(exponent) > 8 or len(literal) > NUMBER_DIGITS or abs(Decimal(literal).adjusted()) > NUMBER_DIGITS:
        raise ValueError("a number without bounds")
    return _Literal(literal)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
