"""The customers' API: the records of whoever the token names, whatever else the request says."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from headrace.domain.refusal import Refusal
from headrace.web import record_answer as answer
from headrace.web.auth import CUSTOMER_SCHEME, EMBED_PATH, Customer, customer_of
from headrace.web.context import application_of
from headrace.web.problem import problems
from headrace.web.record_answer import After, Fields, Filters, ModelName, PageLimit, SortBy

router = APIRouter(
    prefix=EMBED_PATH,
    tags=["embed"],
    responses=problems(Refusal.NO_DATA_SOURCE, Refusal.DATA_SOURCE_UNAVAILABLE),
)


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
    openapi_extra={"security": [{CUSTOMER_SCHEME: []}], "parameters": answer.ONE_PARAMETERS},
)
def get_record(request: Request) -> Response:
    # What a page asks most often, and so without the framework's reading of parameters, which would take a
    # seventh of the whole answer: `make bench` compares it with a bare endpoint.
    customer, app = customer_of(request), application_of(request)
    model, fields = request.path_params["model"], request.query_params.get("fields")
    reading = answer.reading_of(app, customer.visibility_group, customer.customer, model)
    _, response = answer.one_response(app, reading, request, fields)
    return response
