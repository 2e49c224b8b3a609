"""Customers: created or found, listed, changed, deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field, model_validator

from headrace.control.customer_change import UNCHANGED, CustomerChange
from headrace.control.customer_view import CustomerView, Place
from headrace.control.customers import NewCustomer
from headrace.domain.assignment import Asked, Named
from headrace.domain.refusal import Refusal
from headrace.web.auth import STAFF_PATH, NotABrowser, Staff, StaffWriter
from headrace.web.context import App, Minting
from headrace.web.impact import ImpactAnswer
from headrace.web.listing import After, Limit, Listed
from headrace.web.problem import problems
from headrace.web.texts import Answer, Body, CustomerPath, Id, Properties, Reference, Text

router = APIRouter(prefix=STAFF_PATH, tags=["customers"])

_ASSIGNING = (
    Refusal.DATA_SOURCE_CONFLICT,
    Refusal.DATA_SOURCE_UNFIT,
    Refusal.DATA_SOURCE_DEDICATED,
    Refusal.PARENT_UNFIT,
    Refusal.CUSTOMER_EXISTS,
)
CHANGING = (
    *_ASSIGNING,
    Refusal.CUSTOMER_HAS_RECORDS,
    Refusal.MOVE_UNDER_WAY,
    Refusal.OWNED_BY_CONFIG,
)
"""Why a change of where a customer is led may be refused."""


class DataSourceName(Body):
    """A data source by its `id` or its `provided_id`; by both, if they are of the same one."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    id: Text | None = None
    provided_id: Text | None = None

    @model_validator(mode="after")
    def _named(self) -> DataSourceName:
        if self.id is None and self.provided_id is None:
            raise ValueError("names no data source: give its id or its provided_id")
        return self


class CustomerBody(Body):
    """A customer to create, or to find by its `provided_id`. Without a data source it takes the defaults."""

    provided_id: Text
    name: Annotated[Text | None, Field(description="What people call it; else its provided_id.")] = None
    parent: Annotated[
        Reference | None, Field(description="The id of the customer above it, or `provided:` and its own.")
    ] = None
    properties: Properties = Field(default_factory=dict)
    data_source_id: Text | None = None
    data_source_provided_id: Text | None = None
    mapping: Annotated[
        dict[Id, DataSourceName], Field(max_length=100, description="A data source by schema.")
    ] = Field(default_factory=dict)

    def as_new(self) -> NewCustomer:
        return NewCustomer(
            provided_id=self.provided_id,
            name=self.name,
            parent=self.parent,
            properties=self.properties,
            asked=_asked(self.data_source_id, self.data_source_provided_id, self.mapping),
        )


class CustomerPatch(Body):
    """What is to change; what is left out stays."""

    provided_id: Annotated[
        Text | None, Field(description="Only while the customer has no records: they carry it.")
    ] = None
    name: Text | None = None
    parent: Annotated[Reference | None, Field(description="null: there is none any more.")] = None
    properties: Annotated[Properties | None, Field(description="In place of those before.")] = None
    data_source_id: Text | None = None
    data_source_provided_id: Text | None = None
    mapping: Annotated[
        dict[Id, DataSourceName | None],
        Field(max_length=100, description="A data source by schema; null: what it inherits."),
    ] = Field(default_factory=dict)

    def as_change(self) -> CustomerChange:
        named = {schema: name for schema, name in self.mapping.items() if name is not None}
        return CustomerChange(
            name=self.name,
            provided_id=self.provided_id,
            properties=self.properties,
            parent=self.parent if "parent" in self.model_fields_set else UNCHANGED,
            asked=_asked(self.data_source_id, self.data_source_provided_id, named),
            unbound=tuple(sorted(schema for schema, name in self.mapping.items() if name is None)),
        )


class PlaceAnswer(Answer):
    """A data source."""

    id: str
    provided_id: str

    @classmethod
    def of(cls, place: Place) -> PlaceAnswer:
        return cls(id=place.id, provided_id=place.provided_id)


class CustomerName(Answer):
    """A customer, by both its ids."""

    id: str
    provided_id: str


class CustomerAnswer(Answer):
    """A customer. `mapping`: its own data sources by schema, `pinned` those among them that were the default
    when its first record came. `computed_mapping`: of every schema where its records are (null: nowhere that
    serves), and `via` why: `own`, `parent`, `default`."""

    id: str
    provided_id: str
    visibility_group: str
    name: str
    parent: Annotated[CustomerName | None, Field(description="The customer above it.")]
    properties: dict[str, Any]
    origin: Literal["config", "api", "row"]
    made_at: datetime
    mapping: dict[str, PlaceAnswer]
    pinned: tuple[str, ...]
    computed_mapping: dict[str, PlaceAnswer | None]
    via: dict[str, Literal["own", "parent", "default"] | None]

    @classmethod
    def of(cls, view: CustomerView) -> CustomerAnswer:
        return cls.model_validate(_fields(view))


class CreatedCustomer(CustomerAnswer):
    """A customer with a token for its browser; null where this installation signs none."""

    token: str | None
    token_expires_at: datetime | None


@router.get("/customers", summary="List customers")
def list_customers(
    app: App,
    staff: Staff,
    parent: Annotated[str | None, Query(max_length=220, description="Those directly below it.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Listed[CustomerAnswer]:
    """In order of their provided ids."""
    page = app.customers.list(staff.visibility_group, limit=limit, after=after, parent=parent)
    return Listed(items=tuple(CustomerAnswer.of(view) for view in page.items), next=page.next)


@router.post(
    "/customers",
    summary="Create a customer, or find it",
    status_code=201,
    responses={
        200: {"model": CreatedCustomer, "description": "It exists as asked for"},
        **problems(*_ASSIGNING, Refusal.CUSTOMER_HAS_RECORDS),
    },
    dependencies=[NotABrowser],
)
def create(
    app: App, staff: StaffWriter, minting: Minting, body: CustomerBody, response: Response
) -> CreatedCustomer:
    """Found by its `provided_id`: one that exists must be bound as is asked for, and is told as it is."""
    view, made = app.customers.create(staff.visibility_group, body.as_new(), actor=staff.actor)
    if made:
        app.fetch_held(view.provided_id)
    else:
        response.status_code = 200
    fields = _fields(view)
    if not app.vault.has_keys:
        return CreatedCustomer.model_validate({**fields, "token": None, "token_expires_at": None})
    subject = app.token_subjects.to_mint(view.id, visibility_group=staff.visibility_group, actor=staff.actor)
    minted = minting.mint(subject)
    return CreatedCustomer.model_validate(
        {**fields, "token": minted.text, "token_expires_at": minted.expires_at}
    )


@router.get("/customers/{customer}", summary="Get a customer")
def get(app: App, staff: Staff, customer: CustomerPath) -> CustomerAnswer:
    return CustomerAnswer.of(app.customers.get(staff.visibility_group, customer))


@router.patch("/customers/{customer}", summary="Change a customer", responses=problems(*CHANGING))
def update(app: App, staff: StaffWriter, customer: CustomerPath, body: CustomerPatch) -> CustomerAnswer:
    """A change that would lead it, or who is below it, away from records is refused: move it."""
    view = app.customers.update(staff.visibility_group, customer, body.as_change(), actor=staff.actor)
    app.token_subjects.forget()
    app.fetch_held(view.provided_id)
    return CustomerAnswer.of(view)


@router.post(
    "/customers/{customer}/impact",
    summary="See whom a change of a customer would lead elsewhere",
    responses=problems(*CHANGING),
)
def foresee(app: App, staff: StaffWriter, customer: CustomerPath, body: CustomerPatch) -> ImpactAnswer:
    """The change is made and rolled back."""
    return ImpactAnswer.of(app.customers.foresee(staff.visibility_group, customer, body.as_change()))


@router.delete(
    "/customers/{customer}",
    summary="Delete a customer",
    status_code=204,
    responses=problems(Refusal.CUSTOMER_HAS_CHILDREN, Refusal.MOVE_UNDER_WAY, Refusal.OWNED_BY_CONFIG),
)
def delete(app: App, staff: StaffWriter, customer: CustomerPath) -> None:
    """What data sources have of it is removed as soon as they are merged."""
    merges = app.customers.delete(staff.visibility_group, customer, actor=staff.actor)
    app.token_subjects.forget()
    for target in merges:
        app.nudge.merge(*target)


def _asked(id_: str | None, provided_id: str | None, mapping: dict[str, DataSourceName]) -> Asked:
    return Asked(
        data_source_id=id_,
        data_source_provided_id=provided_id,
        mapping={s: Named(id=name.id, provided_id=name.provided_id) for s, name in mapping.items()},
    )


def _fields(view: CustomerView) -> dict[str, Any]:
    parent = None
    if view.parent_id is not None:
        parent = CustomerName(id=view.parent_id, provided_id=str(view.parent_provided_id))
    fields = {
        name: getattr(view, name)
        for name in ("id", "provided_id", "visibility_group", "name", "origin", "made_at", "pinned")
    }
    return {
        **fields,
        "parent": parent,
        "properties": dict(view.properties),
        "mapping": {schema: PlaceAnswer.of(place) for schema, place in view.mapping.items()},
        "computed_mapping": {
            schema: None if place is None else PlaceAnswer.of(place)
            for schema, place in view.computed_mapping.items()
        },
        "via": {schema: None if via is None else via.value for schema, via in view.via.items()},
    }
