"""Records for staff, as the customer whom they name sees them: by the same route, and audited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from headrace.control.audit import AuditLine
from headrace.control.customer_view import BY_PROVIDED_ID
from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError
from headrace.ports.records import ResolvedRoute
from headrace.steps.records import Reading
from headrace.web import record_answer as answer
from headrace.web.auth import STAFF_PATH, Staff, StaffContext
from headrace.web.context import App
from headrace.web.problem import problems
from headrace.web.record_answer import After, Fields, Filters, Key, ModelName, PageLimit, SortBy
from headrace.wiring import Application

router = APIRouter(
    prefix=STAFF_PATH,
    tags=["records"],
    responses=problems(Refusal.NO_DATA_SOURCE, Refusal.DATA_SOURCE_UNAVAILABLE),
)

OfCustomer = Annotated[
    str,
    Query(
        alias="customer",
        min_length=1,
        max_length=400,
        description="A customer's `id`, or `provided:<provided_id>`.",
    ),
]


@router.get(
    "/records/{model}", summary="List a customer's records", response_class=Response, responses=answer.PAGE
)
def list_records(
    app: App,
    staff: Staff,
    model: ModelName,
    customer: OfCustomer,
    filters: Filters = None,
    sort: SortBy = None,
    fields: Fields = None,
    limit: PageLimit = answer.LIMIT,
    after: After = None,
) -> Response:
    return _audited(
        app,
        staff,
        customer,
        model,
        lambda reading: answer.page_response(
            app, reading, filters=filters, sort=sort, fields=fields, limit=limit, after=after
        ),
    )


@router.get(
    "/records/{model}/{key:path}",
    summary="Get one of a customer's records",
    response_class=Response,
    responses=answer.ONE,
)
def get_record(
    app: App,
    staff: Staff,
    request: Request,
    model: ModelName,
    key: Key,  # noqa: ARG001
    customer: OfCustomer,
    fields: Fields = None,
) -> Response:
    return _audited(
        app, staff, customer, model, lambda reading: answer.one_response(app, reading, request, fields)
    )


def _audited(
    app: Application,
    staff: StaffContext,
    customer: str,
    model: str,
    read: Callable[[Reading], tuple[ResolvedRoute, Response]],
) -> Response:
    """The answer; that it was given, or refused, and from where, is in the audit."""
    line = AuditLine(
        actor=staff.actor,
        action="records.read",
        visibility_group=staff.visibility_group,
        customer=customer.removeprefix(BY_PROVIDED_ID),
        detail={"model": model},
    )
    try:
        provided_id = _provided_id(app, staff, customer)
        reading = answer.reading_of(app, staff.visibility_group, provided_id, model)
        line = replace(line, customer=provided_id, schema=reading.schema)
        route, response = read(reading)
    except RefusedError as error:
        app.audit.append(line.refused(error))
        raise
    app.audit.append(replace(line, data_source_id=route.data_source, epoch=route.epoch, via=route.via.value))
    return response


def _provided_id(app: Application, staff: StaffContext, customer: str) -> str:
    if customer.startswith(BY_PROVIDED_ID):
        return customer.removeprefix(BY_PROVIDED_ID)
    return app.customers.get(staff.visibility_group, customer).provided_id
