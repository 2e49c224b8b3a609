"""What both APIs of records have in common: parameters, the model that is meant, the form of answers.

The records come out of the store as JSON and go out so: making objects of them only to write them again would
take longer than reading them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import unquote_to_bytes

from fastapi import Path, Query, Request, Response

from headrace.domain.record_query import DEFAULT_LIMIT, MAX_LIMIT, canonical_key
from headrace.domain.record_query_text import MAX_FILTERS, encode_place, parse_fields, parse_query
from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import ModelId
from headrace.errors import RefusedError
from headrace.ports.records import ResolvedRoute
from headrace.steps.records import Reading
from headrace.web.listing import After
from headrace.wiring import Application

_KEY_TEXT: Final = "The parts of the record's key, each percent-encoded, between slashes."
_FIELDS_TEXT: Final = "What is told of each record: names between commas."
ModelName = Annotated[str, Path(max_length=60, description="The id of a model.")]
Key = Annotated[str, Path(max_length=4000, description=_KEY_TEXT)]
Filters = Annotated[
    list[str] | None,
    Query(
        alias="filter",
        max_length=MAX_FILTERS,
        description="`property:op:value`, all of which hold; op is eq, ne, gt, gte, lt, lte, in, not_in, "
        "contains, not_contains, starts_with, or, without a value, exists or not_exists. Values of `in` and "
        "`not_in` stand between commas; a comma or backslash of a value has a backslash before it.",
        examples=[["email:contains:@example.org"]],
    ),
]
SortBy = Annotated[
    str | None,
    Query(max_length=1000, description="Properties between commas; `-` before one: from the greatest."),
]
Fields = Annotated[str | None, Query(max_length=4000, description=_FIELDS_TEXT)]
PageLimit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Records on the page, at most.")]
LIMIT: Final = DEFAULT_LIMIT

_RECORD: Final[Mapping[str, Any]] = {
    "type": "object",
    "description": "Properties by name, `_created_at`, `_updated_at`, and `_invalid`: what did not fit.",
    "additionalProperties": True,
}
ONE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The record", "content": {"application/json": {"schema": _RECORD}}}
}
ONE_PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": {"type": "string"},
    }
    for name, place, description in (
        ("model", "path", "The id of a model."),
        ("key", "path", _KEY_TEXT),
        ("fields", "query", _FIELDS_TEXT),
    )
]
"""Those of `one_response`, for the document of an operation that reads them by itself."""
PAGE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "A page of records; `next` is null at their end",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["items", "next"],
                    "properties": {
                        "items": {"type": "array", "items": _RECORD},
                        "next": {"type": ["string", "null"]},
                    },
                    "additionalProperties": False,
                }
            }
        },
    }
}


def reading_of(app: Application, visibility_group: str, customer: str, model: str) -> Reading:
    """Whose records of which model.

    Raises:
        RefusedError: `not_found`: there is no such model.
    """
    catalogue = app.catalogue()
    shape = catalogue.models.get(ModelId(model))
    if shape is None:
        raise RefusedError(Refusal.NOT_FOUND, f'there is no model "{model[:60]}"')
    schema = catalogue.bodies["models", shape.id]["schema"]
    return Reading(visibility_group=visibility_group, customer=customer, schema=schema, model=shape)


def page_response(
    app: Application,
    reading: Reading,
    *,
    filters: list[str] | None,
    sort: str | None,
    fields: str | None,
    limit: int,
    after: str | None,
) -> tuple[ResolvedRoute, Response]:
    """The page that these parameters mean, and where it was read."""
    model = reading.model
    query = parse_query(model, filters=filters or (), sort=sort, fields=fields, limit=limit, after=after)
    route, page = app.records.page(reading, query)
    end = None if page.end is None else encode_place(page.end, model, query)
    return route, _json(f'{{"items":[{",".join(page.items)}],"next":{json.dumps(end)}}}')


def one_response(
    app: Application, reading: Reading, request: Request, fields: str | None
) -> tuple[ResolvedRoute, Response]:
    """The record whose key the path names, and where it was read.

    Raises:
        RefusedError: `not_found`: the customer has no such record.
    """
    told = parse_fields(reading.model, fields) if fields else None
    key = canonical_key(reading.model, _key_of(request))
    # Of a key that no record can have the route is asked all the same: who may not read is told so first.
    route, record = app.records.one(reading, key, told) if key else (app.records.route(reading), None)
    if record is None:
        raise RefusedError(Refusal.NOT_FOUND, "the customer has no such record")
    return route, _json(record)


def _json(text: str) -> Response:
    return Response(text.encode(), media_type="application/json")


def _key_of(request: Request) -> tuple[str, ...]:
    """The key's parts, out of the path as it was sent: a slash within a part is told from one between two."""
    raw: bytes = request.scope["raw_path"]
    _, _, rest = raw.partition(b"/records/")
    return tuple(
        unquote_to_bytes(part).decode(errors="surrogateescape")
        for part in rest.split(b"?")[0].split(b"/")[1:]
    )


__all__ = [
    "LIMIT",
    "ONE",
    "PAGE",
    "After",
    "Fields",
    "Filters",
    "Key",
    "ModelName",
    "PageLimit",
    "SortBy",
    "one_response",
    "page_response",
    "reading_of",
]
