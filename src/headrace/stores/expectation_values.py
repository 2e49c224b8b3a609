"""Values of both sides of a comparison: as they are told, and whether they are the same."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import INVALID, PropertyType


def shown(model: ModelShape, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as SQLite has them, as a person reads them: booleans, and `_invalid` as an object."""
    flags = {c.name for c in model.columns if c.type is PropertyType.BOOLEAN}
    told = dict(values)
    for name, value in values.items():
        if name in flags and value is not None:
            told[name] = bool(value)
    if told[INVALID] is not None:
        told[INVALID] = read_json(told[INVALID])
    return told


def read_json(text: str) -> Any:
    """The text itself where somebody has written by hand what is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def differing(model: ModelShape, expected: Mapping[str, Any], found: Mapping[str, Any]) -> Collection[str]:
    """The properties that are not the same; JSON is the same whose numbers are, however they are written."""
    of_json = {c.name for c in model.columns if c.type is PropertyType.JSON}
    return [
        name
        for name, value in expected.items()
        if value != found[name] and not (name in of_json and _same_json(value, found[name]))
    ]


def _same_json(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return False
    return bool(_exact(one) == _exact(other))


def _exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)
