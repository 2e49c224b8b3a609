"""Where a customer's records of a schema are, step by step."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from headrace.web.auth import STAFF_PATH, Staff
from headrace.web.context import App
from headrace.web.texts import Answer

router = APIRouter(prefix=STAFF_PATH, tags=["routing"])


class RouteAnswer(Answer):
    """`via`: the step that answered; `refusal`: why there is no data source all the same, else empty;
    `trace`: each step that was asked; `bound_by`: the customer whose binding answered, with its `epoch`."""

    customer: str
    schema_: str = Field(alias="schema")
    data_source: str | None
    via: Literal["own", "parent", "default"] | None
    bound_by: str | None
    epoch: int
    moving_to: str | None
    refusal: str
    trace: tuple[str, ...]


@router.get("/explain-route", summary="Explain where a customer's records are")
def explain_route(
    app: App,
    staff: Staff,
    customer: Annotated[
        str, Query(min_length=1, max_length=220, description="An id, or `provided:` and the provided id.")
    ],
    schema: Annotated[str, Query(min_length=1, max_length=40)],
) -> RouteAnswer:
    view, route = app.customers.explain(staff.visibility_group, customer, schema)
    return RouteAnswer(
        customer=view,
        schema_=schema,
        data_source=route.data_source,
        via=None if route.via is None else route.via.value,
        bound_by=route.bound_by,
        epoch=route.epoch,
        moving_to=route.moving_to,
        refusal=route.refusal,
        trace=route.trace,
    )
