"""One file's object becomes one frozen definition, or faults: all of them at once."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from headrace.definition.models import App, Customer, DataSource, Model, Schema, VisibilityGroup
from headrace.definition.source import CustomerValue, PrimarySource, SecondarySource
from headrace.definition.webhook import Webhook
from headrace.definition.wording import at, body_at, closest, keys_of, path_text, sentence, shown
from headrace.errors import Fault

CLASSES: Final[dict[str, type[BaseModel]]] = {
    "apps": App,
    "schemas": Schema,
    "visibility_groups": VisibilityGroup,
    "data_sources": DataSource,
    "customers": Customer,
    "models": Model,
    "webhooks": Webhook,
}
KINDS: Final = (*CLASSES, "sources")

_PRIMARY_HAS_NOT: Final = {
    "mapping": "a primary source has no mapping; remove it, or the line primary",
    "aggregation": "a property of a primary source has no aggregation; remove it",
    "order_by": "a property of a primary source has no order_by; remove it",
    "filters": "a property of a primary source has no filters; remove them",
}


def body_class(kind: str, body: Mapping[str, Any]) -> type[BaseModel]:
    if kind == "sources":
        return PrimarySource if body.get("primary") is True else SecondarySource
    return CLASSES[kind]


def parse(kind: str, body: Mapping[str, Any], file: str) -> tuple[BaseModel | None, list[Fault]]:
    """The definition of a body, or None with every fault of it.

    Unknown keys are mended first (renamed to what was probably meant, or left out), so that one
    misspelt key is one fault and hides no other.
    """
    model = body_class(kind, body)
    mended = copy.deepcopy(dict(body))
    faults = [
        Fault(file, path_text(error["loc"]), _mend_unknown_key(error, model, mended))
        for error in _errors(model, body)
        if error["type"] == "extra_forbidden"
    ]
    faults += [
        Fault(file, path_text(error["loc"]), sentence(error, model)) for error in _errors(model, mended)
    ]
    return (None, faults) if faults else (model.model_validate(body), [])


def _errors(model: type[BaseModel], body: Mapping[str, Any]) -> list[ErrorDetails]:
    try:
        model.model_validate(body)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def _mend_unknown_key(error: ErrorDetails, model: type[BaseModel], mended: dict[str, Any]) -> str:
    *path, key = error["loc"]
    key = str(key)
    owner = at(mended, tuple(path))
    value = owner.pop(key)
    body = body_at(model, tuple(path))
    known = keys_of(body) if body else {}
    if body is CustomerValue and key == "column":
        return "has both value and column; keep one"
    if key in _PRIMARY_HAS_NOT and model is PrimarySource:
        return _PRIMARY_HAS_NOT[key]
    meant = closest(key, [k for k in known if k not in owner])
    if meant is None:
        return f"unknown key {shown(key)}; known are " + ", ".join(k for k in known if k != "$schema")
    owner[meant] = value
    return f'unknown key {shown(key)}; did you mean "{meant}"?'
