"""How faults speak: paths, what would be right, and what was probably meant."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, Tag
from pydantic_core import ErrorDetails

Location = tuple[int | str, ...]

_KINDS: Final = {
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
_WANTED: Final = {
    "string_type": "a text",
    "int_type": "an integer",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def suggestion(wrong: str, right: Iterable[str], *, listed: bool = True) -> str:
    """`; did you mean "x"?`, else (when `listed`) what there is, else nothing."""
    names = sorted(right)
    by_folded = {name.casefold(): name for name in names}
    close = get_close_matches(wrong.casefold(), by_folded, n=1)
    if close:
        return f'; did you mean "{by_folded[close[0]]}"?'
    if not listed or not names:
        return ""
    return "; there is only " + names[0] if len(names) == 1 else "; there are " + ", ".join(names)


def closest(wrong: str, right: Iterable[str]) -> str | None:
    by_folded = {name.casefold(): name for name in sorted(right)}
    close = get_close_matches(wrong.casefold(), by_folded, n=1)
    return by_folded[close[0]] if close else None


def shown(value: Any) -> str:
    """A value as a person would write it in JSON, cut at 60 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def kind_of(value: Any) -> str:
    return _KINDS.get(type(value), "something else")


def path_text(location: Iterable[int | str]) -> str:
    """`a.b[0].c`: tags of alternatives and marks of dictionary keys left out."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not part.startswith("<") and part != "[key]":
            text += f".{part}" if text else part
    return text


def body_at(model: type[BaseModel], location: Location) -> type[BaseModel] | None:
    """The class of the object at a location of a body of `model`, None where there is no object."""
    current: Any = model
    for part in location:
        current = _inside(current, part)
    current = _plain(current)
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _plain(annotation: Any) -> Any:
    """The annotation without `Annotated` and `| None`."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in {Union, types.UnionType}:
            rest = [a for a in get_args(annotation) if a is not type(None)]
            if len(rest) != 1:
                return annotation
            annotation = rest[0]
        else:
            return annotation


def _inside(annotation: Any, part: int | str) -> Any:
    annotation = _plain(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        found = next((f for n, f in fields.items() if (f.alias or n) == part), None)
        return found.annotation if found else None
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0]
    return next((a for a in get_args(annotation) if Tag(str(part)) in get_args(a)), None)


def keys_of(model: type[BaseModel]) -> dict[str, str]:
    """The keys that an object of this class may have, each with its description."""
    return {(field.alias or name): field.description or "" for name, field in model.model_fields.items()}


def sentence(error: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong and what would be right, for an error of pydantic other than an unknown key."""
    kind, value = error["type"], error.get("input")
    if kind == "headrace":
        return str(error["msg"])
    if kind == "missing":
        return _missing(error["loc"], model)
    if kind in _WANTED:
        return f"must be {_WANTED[kind]}, not {kind_of(value)}"
    if kind in {"enum", "literal_error"}:
        return _not_among(value, error, model)
    if kind in {"greater_than_equal", "less_than_equal"}:
        limits = error.get("ctx", {})
        return f"must be at least {limits['ge']}" if "ge" in limits else f"must be at most {limits['le']}"
    if kind == "string_too_short":
        return "is empty; give it a text"
    return str(error["msg"])


def _missing(location: Location, model: type[BaseModel]) -> str:
    owner = body_at(model, location[:-1])
    description = keys_of(owner).get(str(location[-1]), "") if owner else ""
    return (
        f"is missing; {description[:1].lower()}{description[1:].rstrip('.')}" if description else "is missing"
    )


def _not_among(value: Any, error: ErrorDetails, model: type[BaseModel]) -> str:
    allowed = _allowed(model, error["loc"])
    if allowed and all(isinstance(a, bool) for a in allowed):
        return f"must be true or false, not {kind_of(value)}"
    if not isinstance(value, str):
        right = ", ".join(shown(a) for a in allowed)
        return f"must be one of {right}, not {kind_of(value)}" if allowed else "is not allowed"
    texts = [str(a) for a in allowed]
    close = closest(value, texts)
    if close:
        return f'unknown value {shown(value)}; did you mean "{close}"?'
    return f"unknown value {shown(value)}; it may be " + ", ".join(texts)


def _allowed(model: type[BaseModel], location: Location) -> list[Any]:
    annotation: Any = model
    for part in location:
        annotation = _inside(annotation, part)
    return _choices(annotation)


def _choices(annotation: Any) -> list[Any]:
    annotation = _plain(annotation)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return [member.value for member in annotation]
    return [a for a in get_args(annotation) if isinstance(a, str | bool)]


def at(body: Mapping[str, Any], location: Location) -> Any:
    """What a body holds at a location (tags skipped)."""
    value: Any = body
    for part in location:
        if isinstance(part, str) and part.startswith("<"):
            continue
        value = value[part]
    return value
