"""Texts, ids and JSON values as requests may hold them: what a database could not keep is refused first."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from headrace.definition.values import ID_PATTERN, check_namespace, check_text

_DEEPEST: Final = 20
_MOST_BYTES: Final = 16_000
_PRINTABLE: Final = r"^[^\x00-\x1f\x7f]+$"


class Body(BaseModel):
    """What a request's body obeys: frozen, unknown keys refused, and its errors repeat nothing of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Answer(BaseModel):
    """What an answer's body obeys."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True, populate_by_name=True)


def _check_json(value: dict[str, Any]) -> dict[str, Any]:
    if _size(value, 0) > _MOST_BYTES:
        raise PydanticCustomError("headrace", f"is bigger than {_MOST_BYTES} characters")
    return value


def _size(value: Any, depth: int) -> int:
    """The characters of all texts in it, and one for each value. Raises for what PostgreSQL's jsonb does not
    take."""
    if depth > _DEEPEST:
        raise PydanticCustomError("headrace", f"is nested deeper than {_DEEPEST}")
    if isinstance(value, dict):
        return sum(_size(key, depth) + _size(item, depth + 1) for key, item in value.items())
    if isinstance(value, list):
        return 1 + sum(_size(item, depth + 1) for item in value)
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("headrace", "holds a number that is none, or has no end")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise PydanticCustomError("headrace", "holds an integer of more than 64 bits")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise PydanticCustomError("headrace", "holds a NUL character, or half of a character")
        return len(value)
    return 1


Text = Annotated[str, Field(min_length=1, max_length=200, pattern=_PRINTABLE), AfterValidator(check_text)]
Id = Annotated[str, Field(max_length=40, pattern=f"^{ID_PATTERN}$")]
Reference = Annotated[str, Field(min_length=1, max_length=220, pattern=_PRINTABLE)]
"""A customer's id, or `provided:` and its provided id."""
Url = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\x00-\x20\x7f]+$")]
Namespace = Annotated[
    str, Field(min_length=1, max_length=63, pattern=_PRINTABLE), AfterValidator(check_namespace)
]
Properties = Annotated[
    dict[str, Any],
    AfterValidator(_check_json),
    Field(description="Any JSON object of up to 16,000 characters."),
]
CustomerPath = Annotated[
    str,
    Path(min_length=1, max_length=220, description="A customer's id, or `provided:` and its provided id."),
]
IdPath = Annotated[str, Path(min_length=1, max_length=200)]
