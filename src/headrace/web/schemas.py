"""Schemas, and the default data source that each has in the token's visibility group."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from headrace.control.paging import page_of, place_of
from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError
from headrace.web.auth import STAFF_PATH, Staff, StaffContext, StaffWriter
from headrace.web.context import App
from headrace.web.impact import ImpactAnswer
from headrace.web.listing import After, Limit, Listed
from headrace.web.problem import problems
from headrace.web.texts import Answer, Body, IdPath, Text
from headrace.wiring import Application

router = APIRouter(prefix=STAFF_PATH, tags=["schemas"])


class SchemaAnswer(Answer):
    """A schema; `default`: the id of the data source of customers without one of their own."""

    id: str
    name: str
    models: tuple[str, ...]
    default: str | None


class DefaultBody(Body):
    """The new default; null: there is none."""

    data_source_id: Text | None


class DefaultAnswer(Answer):
    """The default, and who was or would be led elsewhere. `preview`: nothing was changed."""

    schema_: str = Field(alias="schema")
    data_source_id: str | None
    preview: bool
    impact: ImpactAnswer


@router.get("/schemas", summary="List schemas")
def list_schemas(app: App, staff: Staff, limit: Limit = 100, after: After = None) -> Listed[SchemaAnswer]:
    beyond = "" if after is None else place_of(after)
    found = [schema for schema in _schemas(app, staff) if schema.id > beyond]
    page = page_of(found, limit, lambda schema: schema.id)
    return Listed(items=page.items, next=page.next)


@router.get("/schemas/{schema}", summary="Get a schema")
def get(app: App, staff: Staff, schema: IdPath) -> SchemaAnswer:
    return _schema(app, staff, schema)


@router.put(
    "/schemas/{schema}/default",
    summary="Set the default data source of a schema",
    responses=problems(
        Refusal.OWNED_BY_CONFIG,
        Refusal.DATA_SOURCE_UNFIT,
        Refusal.CUSTOMER_HAS_RECORDS,
        Refusal.MOVE_UNDER_WAY,
    ),
)
def set_default(
    app: App,
    staff: StaffWriter,
    schema: IdPath,
    body: DefaultBody,
    preview: Annotated[bool, Query(description="Only tell who would be affected.")] = False,
) -> DefaultAnswer:
    """Customers without records follow at once; those with records stay where they are."""
    group, id_ = staff.visibility_group, body.data_source_id
    impact = ImpactAnswer.of(app.data_sources.foresee_default(group, schema, id_))
    if not preview:
        app.data_sources.set_default(group, schema, id_, actor=staff.actor)
        app.fetch_held()
    return DefaultAnswer(schema_=schema, data_source_id=id_, preview=preview, impact=impact)


def _schema(app: Application, staff: StaffContext, id_: str) -> SchemaAnswer:
    for found in _schemas(app, staff):
        if found.id == id_:
            return found
    raise RefusedError(Refusal.NOT_FOUND, "there is no such schema")


def _schemas(app: Application, staff: StaffContext) -> list[SchemaAnswer]:
    catalogue = app.catalogue()
    defaults = app.data_sources.defaults(staff.visibility_group)
    return [
        SchemaAnswer(
            id=id_, name=body["name"], models=tuple(catalogue.models_of(id_)), default=defaults.get(id_)
        )
        for (kind, id_), body in sorted(catalogue.bodies.items())
        if kind == "schemas"
    ]
