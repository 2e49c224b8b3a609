"""Moves of customers from one data source to another: begun, listed, found, cancelled."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from headrace.control.audit import AuditLine, telling_refusals
from headrace.control.moves import Move
from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError
from headrace.web.auth import STAFF_PATH, Staff, StaffContext, StaffWriter
from headrace.web.context import App
from headrace.web.customers import CHANGING, CustomerName
from headrace.web.listing import Listed
from headrace.web.problem import problems
from headrace.web.texts import Answer, Body, CustomerPath, Id, IdPath, Text
from headrace.wiring import Application

router = APIRouter(prefix=STAFF_PATH, tags=["customers"])


class MoveBody(Body):
    """Where the customer's records of a schema shall be. `move`: they are read anew into the other data
    source, and only then looked for there. `switch_only`: new rows go there from now on, and what is stored
    stays behind."""

    schema_: Id = Field(alias="schema")
    to: Annotated[Text, Field(description="A data source's id.")]
    mode: Literal["move", "switch_only"] = "move"


class MoveAnswer(Answer):
    """A move of a customer. `reading`: `feeds_done` of its `feeds` have read its rows anew, `rows` so far."""

    id: str
    customer: CustomerName
    schema_: str = Field(alias="schema")
    from_: str = Field(alias="from")
    to: str
    state: Literal["reading", "moved", "cancelled"]
    started_at: datetime
    ended_at: datetime | None
    feeds: int
    feeds_done: int
    rows: int

    @classmethod
    def of(cls, move: Move) -> MoveAnswer:
        return cls(
            id=move.id,
            customer=CustomerName(id=move.customer_id, provided_id=move.customer),
            schema_=move.schema,
            from_=move.source,
            to=move.target,
            state=move.state.value,
            started_at=move.started_at,
            ended_at=move.ended_at,
            feeds=move.feeds,
            feeds_done=move.feeds_done,
            rows=move.rows,
        )


@router.post(
    "/customers/{customer}/move",
    summary="Move a customer to another data source",
    status_code=202,
    responses=problems(*CHANGING, Refusal.NO_DATA_SOURCE, Refusal.DATA_SOURCE_UNAVAILABLE),
)
def move(app: App, staff: StaffWriter, customer: CustomerPath, body: MoveBody) -> MoveAnswer:
    """Without records it has moved at once. Reads stay on the old data source until all is in the new one."""
    line = AuditLine(
        actor=staff.actor,
        action="customer.move" if body.mode == "move" else "customer.switch",
        visibility_group=staff.visibility_group,
        customer=customer,
        schema=body.schema_,
        data_source_id=body.to,
    )
    with telling_refusals(app.audit, line):
        view = app.customers.get(staff.visibility_group, customer)
        app.moves.refuse_owned_by_config(view.id)
        begin = app.moves.start if body.mode == "move" else app.moves.switch
        return MoveAnswer.of(begin(view.id, body.schema_, DataSourceId(body.to), actor=staff.actor))


@router.get("/customers/{customer}/moves", summary="List the moves of a customer")
def list_moves(app: App, staff: Staff, customer: CustomerPath) -> Listed[MoveAnswer]:
    """The latest first."""
    view = app.customers.get(staff.visibility_group, customer)
    return Listed(items=tuple(MoveAnswer.of(one) for one in app.moves.list(customer_id=view.id)))


@router.get("/moves/{move_id}", summary="Get a move")
def get_move(app: App, staff: Staff, move_id: IdPath) -> MoveAnswer:
    return MoveAnswer.of(_own_move(app, staff, move_id))


@router.delete(
    "/moves/{move_id}",
    summary="Cancel a move",
    responses=problems(Refusal.MOVE_ENDED, Refusal.CUSTOMER_HAS_RECORDS),
)
def cancel(app: App, staff: StaffWriter, move_id: IdPath) -> MoveAnswer:
    """The customer stays where it was; what the other data source has of it is removed."""
    line = AuditLine(
        actor=staff.actor,
        action="customer.move.cancel",
        visibility_group=staff.visibility_group,
        detail={"move": move_id},
    )
    with telling_refusals(app.audit, line):
        found = _own_move(app, staff, move_id)
        return MoveAnswer.of(app.moves.cancel(found.id, actor=staff.actor))


def _own_move(app: Application, staff: StaffContext, move_id: str) -> Move:
    found = app.moves.get(move_id)
    if found.visibility_group != staff.visibility_group:
        raise RefusedError(Refusal.NOT_FOUND, "there is no such move")
    return found
