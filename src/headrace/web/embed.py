"""The customers' API: the records of whoever the token names, whatever else the request says."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from headrace.domain.refusal import Refusal
from headrace.web import record_answer as answer
from headrace.web.auth import EMBED_PATH, Customer
from headrace.web.context import application_of
from headrace.web.problem import problems
from headrace.web.record_answer import After, Fields, Filters, Key, ModelName, PageLimit, SortBy

router = APIRouter(
    prefix=EMBED_PATH,
    tags=["embed"],
    responses=problems(Refusal.NO_DATA_SOURCE, Refusal.DATA_SOURCE_UNAVAILABLE),
)


# The application is taken out of the request: as a dependency it would cost a twentieth of the whole answer.


@router.get(
    "/records/{model}", summary="List the customer's records", response_class=Response, responses=answer.PAGE
)
def list_records(
    request: Request,
    customer: Customer,
    model: ModelName,
    filters: Filters = None,
    sort: SortBy = None,
    fields: Fields = None,
    limit: PageLimit = answer.LIMIT,
    after: After = None,
) -> Response:
    app = application_of(request)
    reading = answer.reading_of(app, customer.visibility_group, customer.customer, model)
    _, response = answer.page_response(
        app, reading, filters=filters, sort=sort, fields=fields, limit=limit, after=after
    )
    return response


@router.get(
    "/records/{model}/{key:path}",
    summary="Get one of the customer's records",
    response_class=Response,
    responses=answer.ONE,
)
def get_record(
    request: Request,
    customer: Customer,
    model: ModelName,
    key: Key,  # noqa: ARG001
    fields: Fields = None,
) -> Response:
    app = application_of(request)
    reading = answer.reading_of(app, customer.visibility_group, customer.customer, model)
    _, response = answer.one_response(app, reading, request, fields)
    return response
