"""When a column's native type has changed, and yet every value means what it meant.

Types are compared by the names that the sources' catalogues give them: `integer`, `character varying(20)`,
`timestamp(3) without time zone`, `int unsigned`. Only a type that holds every value of the old one, each with
the same meaning, is a wider one; whatever is not known to be is another type.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

_NAME: Final = re.compile(
    r"\s*([a-z_0-9]+(?: varying| precision)?)\s*(?:\(\s*([\d\s,]*)\))?\s*(.*?)\s*", re.DOTALL
)
_SPELLINGS: Final = {
    "int": "integer", "int2": "smallint", "int4": "integer", "int8": "bigint", "character varying": "varchar",
    "decimal": "numeric", "dec": "numeric",
}  # fmt: skip
_INTEGERS: Final = ("tinyint", "smallint", "mediumint", "integer", "bigint")
_TEXTS: Final = {
    "tinytext": 255.0, "varchar": math.inf, "text": math.inf, "mediumtext": math.inf, "longtext": math.inf,
}  # fmt: skip
_MOMENTS: Final = frozenset({"timestamp", "datetime", "time"})
_POSTGRES_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class _Type:
    """A type's name, its arguments, and what stands behind them (`unsigned`, `with time zone`)."""

    name: str
    arguments: tuple[int, ...]
    rest: str

    @classmethod
    def read(cls, native: str) -> _Type:
        found = _NAME.fullmatch(native.lower())
        if found is None:
            return cls(native, (), "")
        name, arguments, rest = found.groups()
        numbers = tuple(int(part) for part in (arguments or "").split(",") if part.strip())
        return cls(_SPELLINGS.get(name, name), numbers, " ".join(rest.split()))


def is_widened(old: str, new: str, *, as_text: bool) -> bool:
    """Every value of the old type is one of the new type, and means the same.

    Args:
        as_text: values are kept as the source's text, so that its digits count too.
    """
    before, after = _Type.read(old), _Type.read(new)
    if before.rest != after.rest:
        return False
    if before.name in _INTEGERS and after.name in _INTEGERS:  # arguments are widths of display
        return _INTEGERS.index(before.name) <= _INTEGERS.index(after.name)
    if before.name in _TEXTS and after.name in _TEXTS:
        return _characters(before) <= _characters(after)
    if before.name != after.name:
        return False
    if before.name == "numeric":
        return _is_wider_number(before.arguments, after.arguments, as_text=as_text)
    if before.name in _MOMENTS:
        # PostgreSQL shows no more digits than a value has, others as many as the type says.
        shown_alike = "time zone" in before.rest or not as_text
        return _digits(before) <= _digits(after) and (shown_alike or before == after)
    return before == after


def _characters(text: _Type) -> float:
    return text.arguments[0] if text.name == "varchar" and text.arguments else _TEXTS[text.name]


def _is_wider_number(old: tuple[int, ...], new: tuple[int, ...], *, as_text: bool) -> bool:
    if not new or not old:
        return not new
    (precision, scale), (wider, finer) = (*old, 0)[:2], (*new, 0)[:2]
    holds = finer >= scale and wider - finer >= precision - scale
    return holds and (finer == scale or not as_text)


def _digits(moment: _Type) -> int:
    if moment.arguments:
        return moment.arguments[0]
    return _POSTGRES_DIGITS if "time zone" in moment.rest else 0
