"""What a person writes in `config/sources/<id>.json`: how rows feed a model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from headrace.definition.property import TYPED_BY_PROPERTY, PrimaryProperty, SecondaryProperty
from headrace.definition.schedule import Schedule
from headrace.definition.values import Body, Id, Identifier, PropertyName, Query, Text, TopBody, fault
from headrace.domain.vocabulary import AppId, PropertyType


class CustomerValue(Body):
    """All rows belong to one customer."""

    value: Annotated[Text, Field(description="The customer of all rows.")]


class CustomerColumn(Body):
    """Each row names its customer."""

    column: Annotated[Identifier, Field(description="The column that holds the customer's provided_id.")]


CustomerRule = Annotated[
    Annotated[CustomerValue, Tag("<value>")] | Annotated[CustomerColumn, Tag("<column>")],
    Discriminator(
        lambda v: (
            "<value>"
            if isinstance(v, CustomerValue) or (isinstance(v, dict) and "value" in v)
            else "<column>"
        )
    ),
]


def _check_key(key: tuple[str, ...]) -> tuple[str, ...]:
    if not key:
        raise fault("is empty; name the column or columns that identify a row")
    repeated = next((c for i, c in enumerate(key) if c in key[:i]), None)
    if repeated is not None:
        raise fault(f'names the column "{repeated}" twice; name each once')
    return key


def _check_apps(apps: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if apps is not None and not apps:
        raise fault("is empty; name the apps to read from")
    repeated = next((a for i, a in enumerate(apps or ()) if a in (apps or ())[:i]), None)
    if repeated is not None:
        raise fault(f'names the app "{repeated}" twice; name each once')
    return apps


def _check_mapping(mapping: dict[str, str]) -> dict[str, str]:
    if len(mapping) != 1:
        raise fault(f"has {len(mapping)} entries; map exactly one column to one property")
    return mapping


class _SourceBody(TopBody):
    name: Annotated[Text, Field(description="What people call it.")]
    model: Annotated[Id, Field(description="The model that its rows feed.")]
    app: Annotated[Id | None, Field(description="The app to read from; one of app and apps.")] = None
    apps: Annotated[
        tuple[Id, ...] | None,
        AfterValidator(_check_apps),
        Field(description="Several databases of the same shape, each with a customer of its own."),
    ] = None
    table: Annotated[
        Text | None,
        Field(
            description="The table to read: name or namespace.name; of files the path of a file, a"
            " directory or a pattern; one of table and query."
        ),
    ] = None
    query: Annotated[Query | None, Field(description="The query to read: one SELECT.")] = None
    key: Annotated[
        tuple[Identifier, ...],
        AfterValidator(_check_key),
        Field(description="The columns that identify a row in the whole table, never null."),
    ]
    customer: Annotated[
        CustomerRule | None, Field(description="Whose rows they are; absent: the app's customer.")
    ] = None
    unknown_customers: Annotated[
        Literal["create", "hold"],
        Field(
            description="What happens to rows of a customer nobody knows: hold sets them aside until it"
            " exists."
        ),
    ] = "create"
    schedule: Annotated[Schedule, Field(description="When and how it is read.")] = Schedule()

    @property
    def app_ids(self) -> tuple[AppId, ...]:
        """The apps that it is read from: one feed each."""
        return tuple(AppId(a) for a in (self.apps or ((self.app,) if self.app else ())))


class PrimarySource(_SourceBody):
    """The source whose rows are the records of a model."""

    primary: Annotated[
        Literal[True], Field(description="Its rows are the model's records; one such source per model.")
    ]
    properties: Annotated[
        dict[PropertyName, PrimaryProperty], Field(description="The properties that it feeds, by name.")
    ] = Field(default_factory=dict)


class SecondarySource(_SourceBody):
    """A source whose rows add to the records of a model."""

    primary: Annotated[Literal[False], Field(description="Its rows are the model's records.")] = False
    mapping: Annotated[
        dict[Identifier, Text],
        AfterValidator(_check_mapping),
        Field(description='One column of the source to one property of the model: {"buyer_id": "user_id"}.'),
    ]
    properties: Annotated[
        dict[PropertyName, SecondaryProperty], Field(description="The properties that it feeds, by name.")
    ]

    @property
    def mapping_column(self) -> str:
        return next(iter(self.mapping))

    @property
    def mapped_property(self) -> str:
        return next(iter(self.mapping.values()))

    def column_type(self, column: str) -> PropertyType | None:
        """The type that properties read a column as: that of the first one which takes its values;
        None when there is none."""
        return next(
            (
                p.type
                for p in self.properties.values()
                if p.column == column and p.aggregation in TYPED_BY_PROPERTY
            ),
            None,
        )


Source = PrimarySource | SecondarySource
