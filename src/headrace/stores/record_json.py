"""Values of records as JSON texts, exact: no number passes through a float that is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring as quoted
from math import isfinite
from typing import Any, Final

from headrace.domain.shape import Column
from headrace.domain.vocabulary import INVALID, TEXT_TYPES, PropertyType

_NULL: Final = "null"

Encoder = Callable[[Sequence[Any]], str]
"""A row's values as the members of a JSON object."""


def object_encoder(columns: Sequence[Column]) -> Encoder:
    """Encodes rows of these columns."""
    parts = [(f"{',' if place else '{'}{quoted(c.name)}:", _writer(c)) for place, c in enumerate(columns)]

    def encode(row: Sequence[Any]) -> str:
        written = [
            name + (_NULL if value is None else write(value))
            for (name, write), value in zip(parts, row, strict=True)
        ]
        return "".join(written) + "}" if written else "{}"

    return encode


def text_of(value: Any, type_: PropertyType) -> str | None:
    """The canonical text of a value as a row has it."""
    if value is None or isinstance(value, str):
        return value
    if type_ is PropertyType.BOOLEAN:
        return "true" if value else "false"
    return repr(value)


def _writer(column: Column) -> Callable[[Any], str]:
    return _object if column.name == INVALID else _WRITERS[column.type]


def _float(value: float) -> str:
    return repr(value) if isfinite(value) else _NULL


def _boolean(value: Any) -> str:
    return "true" if value else "false"


def _json(text: str) -> str:
    """As it is; null where somebody has written by hand what is no JSON."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return _NULL
    return text


def _object(text: str) -> str:
    try:
        return text if isinstance(json.loads(text), dict) else _NULL
    except (ValueError, RecursionError):
        return _NULL


_WRITERS: Final[Mapping[PropertyType, Callable[[Any], str]]] = {
    PropertyType.BOOLEAN: _boolean,
    PropertyType.INTEGER: repr,
    PropertyType.FLOAT: _float,
    PropertyType.JSON: _json,
    **dict.fromkeys([*TEXT_TYPES, PropertyType.DECIMAL, PropertyType.DATE, PropertyType.DATETIME], quoted),
}
