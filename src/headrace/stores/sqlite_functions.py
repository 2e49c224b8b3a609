"""Functions, aggregates and a collation that give SQLite the exact meaning of docs/configuration.md.

SQLite has no decimals, compensates its float sums, fails when an integer sum overflows, and before
3.44 cannot order the rows of an aggregate. Values are what SQLite hands over: int, float, str, None.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from functools import lru_cache, reduce
from operator import add
from typing import Any, Final

from headrace.domain.json_text import parse_json
from headrace.domain.vocabulary import PropertyType
from headrace.stores.dialect import GREATEST_FLOAT, LARGE_FLOAT

_EXACT: Final = Context(prec=1_000_000, Emax=MAX_EMAX, Emin=MIN_EMIN)
_AVERAGE_DECIMALS: Final = 10
_INT64: Final = range(-(2**63), 2**63)

Scalar = int | float | str | None


@lru_cache(maxsize=65_536)
def _decimal(text: str) -> Decimal:
    return Decimal(text)


def decimal_text(number: Decimal) -> str:
    """Canonical: plain notation, no trailing zeros, no "-0"."""
    if not number:
        return "0"
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def compare_decimals(one: str, other: str) -> int:
    a, b = _decimal(one), _decimal(other)
    return (a > b) - (a < b)


def whole(high: int | None, low: int | None) -> str | None:
    """The sum of integers from the sums of their halves, as a decimal's text; null without rows."""
    return None if high is None or low is None else str((high << 32) + low)


def average(total: Scalar, count: int) -> str | None:
    """The quotient rounded to ten decimals, half away from zero; null without rows."""
    if total is None or not count:
        return None
    if isinstance(total, float):
        exact = Decimal(repr(total / count))
        return decimal_text(exact.quantize(Decimal(1).scaleb(-10), ROUND_HALF_UP, _EXACT))
    quotient = Fraction(_decimal(str(total))) / count
    scaled = math.floor(abs(quotient) * 10**_AVERAGE_DECIMALS + Fraction(1, 2))
    sign = -1 if quotient < 0 else 1
    return decimal_text(Decimal(sign * scaled).scaleb(-_AVERAGE_DECIMALS, _EXACT))


def number(to: str, value: Scalar) -> Scalar:
    """A number as the type `to`: null where an integer does not hold it; a sum of no rows is made
    zero by the caller that wants it so."""
    if value is None:
        return None
    exact = Decimal(repr(value) if isinstance(value, float) else value)
    match to:
        case PropertyType.INTEGER:
            integral = exact == exact.to_integral_value()
            return int(exact) if integral and int(exact) in _INT64 else None
        case PropertyType.FLOAT:
            return float(exact)
        case _:
            return decimal_text(exact)


def float_text(value: float | None) -> str | None:
    return None if value is None else repr(value)


def later(moment: str, seconds: float) -> str:
    """So many seconds after a date-time's canonical text."""
    shifted = datetime.fromisoformat(moment) + timedelta(seconds=seconds)
    return shifted.isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_float(text: str | None) -> float | None:
    return None if text is None else float(text)


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=1024)
def _names(text: str) -> Any:
    return json.loads(text)


def merged_invalid(old: str | None, new: str | None, names: str) -> str | None:
    """`old` without the entries of `names` (a JSON array), with those of `new`; null when empty."""
    kept = {name: entry for name, entry in _entries(old).items() if name not in _names(names)}
    kept |= {} if new is None else json.loads(new)
    return _canonical(kept) if kept else None


def invalid_within(invalid: str | None, names: str) -> str | None:
    """The entries of `names` (a JSON array) alone; null when there are none."""
    kept = {name: entry for name, entry in _entries(invalid).items() if name in _names(names)}
    return _canonical(kept) if kept else None


def _entries(invalid: str | None) -> dict[str, Any]:
    """None of them where somebody has written by hand what is no object."""
    try:
        entries = json.loads(invalid or "{}")
    except ValueError:
        return {}
    return entries if isinstance(entries, dict) else {}


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _order_key(kinds: str, parts: tuple[Scalar, ...]) -> tuple[Any, ...]:
    """Compares as the rows do; null below all else."""
    return tuple(
        (part is not None, _decimal(str(part)) if kind == "d" and part is not None else part)
        for kind, part in zip(kinds, parts, strict=True)
    )


class SumDecimal:
    """The exact sum of decimals' texts."""

    def __init__(self) -> None:
        self._total: Decimal | None = None

    def step(self, text: str | None) -> None:
        if text is not None:
            value = _decimal(text)
            self._total = value if self._total is None else _EXACT.add(self._total, value)

    def finalize(self) -> str | None:
        return None if self._total is None else decimal_text(self._total)


class Invalid:
    """Of the entries behind each property the one whose canonical text is least."""

    def __init__(self) -> None:
        self._least: dict[str, str] = {}

    def step(self, invalid: str, columns: str) -> None:
        """`columns`: a JSON object of the column of each property."""
        entries = json.loads(invalid)
        for name, column in _names(columns).items():
            if column in entries:
                text = _canonical(entries[column])
                self._least[name] = min(self._least.get(name, text), text)

    def finalize(self) -> str | None:
        found = {name: json.loads(text) for name, text in self._least.items()}
        return _canonical(found) if found else None


class _Ordered:
    """Collects values with what orders them."""

    def __init__(self) -> None:
        self._rows: list[tuple[tuple[Any, ...], Scalar]] = []

    def step(self, value: Scalar, kinds: str, *parts: Scalar) -> None:
        self._rows.append((_order_key(kinds, parts), value))

    def in_order(self) -> list[Scalar]:
        return [value for _, value in sorted(self._rows, key=lambda row: row[0])]


class SumFloat(_Ordered):
    """Adds in key order, without compensation, as PostgreSQL does; large values exactly, and null where
    no float holds the sum."""

    def finalize(self) -> float | None:
        values = [float(value) for value in self.in_order() if value is not None]
        large = [Decimal(repr(value)) for value in values if abs(value) > LARGE_FLOAT]
        small = reduce(add, (value for value in values if abs(value) <= LARGE_FLOAT), 0.0)
        if not large:
            return small if values else None
        exact = reduce(_EXACT.add, large, Decimal(repr(small)))
        return float(exact) if exact.copy_abs() <= Decimal(GREATEST_FLOAT) else None


class _Best:
    """Keeps the value of one row: the first in the order of `better`."""

    def __init__(self) -> None:
        self._best: tuple[tuple[Any, ...], Scalar] | None = None

    def better(self, order: tuple[Any, ...], best: tuple[Any, ...]) -> bool:
        raise NotImplementedError

    def step(self, value: Scalar, kinds: str, *parts: Scalar) -> None:
        order = _order_key(kinds, parts)
        if self._best is None or self.better(order, self._best[0]):
            self._best = (order, value)

    def finalize(self) -> Scalar:
        return None if self._best is None else self._best[1]


class Least(_Best):
    """The value of the row with the least key."""

    def better(self, order: tuple[Any, ...], best: tuple[Any, ...]) -> bool:
        return order < best


class Greatest(_Best):
    """The value of the most recent row: the greatest order value, then the greatest key."""

    def better(self, order: tuple[Any, ...], best: tuple[Any, ...]) -> bool:
        return order > best


class LeastRecent(_Best):
    """The value of the least recent row: null order values lose, ties go to the least key."""

    def better(self, order: tuple[Any, ...], best: tuple[Any, ...]) -> bool:
        return self._rank(order) < self._rank(best)

    @staticmethod
    def _rank(order: tuple[Any, ...]) -> tuple[Any, ...]:
        (known, value), *key = order
        return (not known, value, key) if known else (True, 0, key)


class List(_Ordered):
    """A JSON array of the values by key, nulls included."""

    def __init__(self) -> None:
        super().__init__()
        self._type = ""

    def step(self, type_: str, value: Scalar, kinds: str, *parts: Scalar) -> None:  # type: ignore[override]
        self._type = type_
        super().step(value, kinds, *parts)

    def finalize(self) -> str:
        return "[" + ",".join(self._item(value) for value in self.in_order()) + "]"

    def _item(self, value: Scalar) -> str:
        match self._type:
            case _ if value is None:
                return "null"
            case PropertyType.BOOLEAN:
                return "true" if value else "false"
            case PropertyType.JSON:
                return parse_json(str(value)) or "null"
            case _:
                return _canonical(value)


def register(connection: sqlite3.Connection, *, now: Callable[[], str]) -> None:
    """Give the connection the functions that `SqliteDialect` calls."""
    scalars: dict[str, Callable[..., Any]] = {
        "headrace_whole": whole,
        "headrace_average": average,
        "headrace_number": number,
        "headrace_float_text": float_text,
        "headrace_float": read_float,
        "headrace_merged_invalid": merged_invalid,
        "headrace_invalid_within": invalid_within,
        "headrace_sha256": sha256_text,
    }
    for name, function in scalars.items():
        connection.create_function(name, -1, function, deterministic=True)
    connection.create_function("headrace_now", 0, now)
    connection.create_function("headrace_later", 1, lambda seconds: later(now(), seconds))
    connection.create_collation("headrace_decimal", compare_decimals)
    aggregates: dict[str, type] = {
        "headrace_invalid": Invalid,
        "headrace_sum_float": SumFloat,
        "headrace_least": Least,
        "headrace_greatest": Greatest,
        "headrace_least_recent": LeastRecent,
        "headrace_list": List,
        "headrace_sum_decimal": SumDecimal,
    }
    for name, aggregate in aggregates.items():
        connection.create_aggregate(name, -1, aggregate)
