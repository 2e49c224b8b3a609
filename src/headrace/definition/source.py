"""What a person writes in `config/sources/<id>.json`: how rows feed a model."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, StrictBool, StrictInt, Tag, model_validator

from headrace.definition.values import (
    Body,
    Cron,
    Duration,
    Id,
    Identifier,
    PropertyName,
    Skew,
    Table,
    Text,
    TimeZone,
    TopBody,
    fault,
)
from headrace.domain.vocabulary import Aggregation, AppId, FilterOp, PropertyType

KEYS_RECONCILED_EVERY: Final = timedelta(hours=1)
FULLY_RECONCILED_EVERY: Final = timedelta(hours=24)

_ALL: Final = frozenset(PropertyType)
_NUMBERS: Final = frozenset({PropertyType.INTEGER, PropertyType.DECIMAL, PropertyType.FLOAT})
_FITTING: Final[dict[Aggregation, frozenset[PropertyType]]] = {
    Aggregation.VALUE: _ALL,
    Aggregation.COUNT: frozenset({PropertyType.INTEGER}),
    Aggregation.COUNT_DISTINCT: frozenset({PropertyType.INTEGER}),
    Aggregation.SUM: _NUMBERS,
    Aggregation.AVERAGE: _NUMBERS - {PropertyType.INTEGER},
    Aggregation.MIN: _ALL - {PropertyType.JSON, PropertyType.BOOLEAN},
    Aggregation.MAX: _ALL - {PropertyType.JSON, PropertyType.BOOLEAN},
    Aggregation.MOST_RECENT: _ALL,
    Aggregation.LEAST_RECENT: _ALL,
    Aggregation.LIST: frozenset({PropertyType.JSON}),
}
"""The types that a property of each aggregation may have."""

TYPED_BY_PROPERTY: Final = frozenset(Aggregation) - {
    Aggregation.COUNT,
    Aggregation.COUNT_DISTINCT,
    Aggregation.LIST,
}
"""Aggregations whose column is read as the property's type."""

_ORDERED: Final = frozenset({Aggregation.MOST_RECENT, Aggregation.LEAST_RECENT})


def _tag(when_object: str, otherwise: str) -> Discriminator:
    # Tags begin with "<", so that the wording of faults can leave them out of paths.
    return Discriminator(lambda v: when_object if isinstance(v, dict | Body) else otherwise)


# --- filters ------------------------------------------------------------------------------------


class Clause(Body):
    """One comparison of a column."""

    column: Annotated[Identifier, Field(description="The column of the source to compare.")]
    op: Annotated[FilterOp, Field(description="How to compare.")]
    value: Annotated[
        Any, Field(description="A text, number or boolean; a list for in and not_in; none for exists.")
    ] = None

    @model_validator(mode="after")
    def _value_suits_the_operator(self) -> Self:
        has_value = "value" in self.model_fields_set
        if self.op in {FilterOp.EXISTS, FilterOp.NOT_EXISTS}:
            if has_value:
                raise fault(f"{self.op} takes no value; remove it")
        elif not has_value:
            raise fault(f"{self.op} needs a value; add one")
        elif self.op in {FilterOp.IN, FilterOp.NOT_IN}:
            if not isinstance(self.value, list) or not self.value:
                raise fault(f"{self.op} needs a list of at least one value")
            if not all(isinstance(item, str | int | float) for item in self.value):
                raise fault(f"{self.op} needs a list of texts, numbers or booleans")
        elif not isinstance(self.value, str | int | float):
            raise fault(f"{self.op} needs one text, number or boolean (for nulls use exists or not_exists)")
        return self

    @property
    def values(self) -> tuple[str | int | float, ...]:
        """The values to compare with: none, one, or those of a list."""
        if "value" not in self.model_fields_set:
            return ()
        return tuple(self.value) if isinstance(self.value, list) else (self.value,)


class AnyOf(Body):
    """Clauses of which at least one must hold."""

    any: Annotated[tuple[Clause, ...], Field(description="Clauses of which one must hold.")]

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.any:
            raise fault("any needs at least one clause")
        return self


Filter = Annotated[
    Annotated[Clause, Tag("<clause>")] | Annotated[AnyOf, Tag("<any>")],
    Discriminator(
        lambda v: "<any>" if isinstance(v, AnyOf) or (isinstance(v, dict) and "any" in v) else "<clause>"
    ),
]

# --- properties ---------------------------------------------------------------------------------

Type = Annotated[PropertyType, Field(description="The type that the record keeps.")]


class PrimaryProperty(Body):
    """A property that a primary source feeds: a column of its row."""

    type: Type
    column: Annotated[Identifier, Field(description="The column of the source that feeds it.")]


class SecondaryProperty(Body):
    """A property that a secondary source feeds: an aggregate over the rows of a record."""

    type: Type
    column: Annotated[
        Identifier | None, Field(description="The column of the source that feeds it; count needs none.")
    ] = None
    aggregation: Annotated[Aggregation, Field(description="How many rows become one value.")] = (
        Aggregation.VALUE
    )
    order_by: Annotated[
        Identifier | None, Field(description="The column that says which row is the most or least recent.")
    ] = None
    filters: Annotated[tuple[Filter, ...], Field(description="All must hold for a row to count.")] = ()

    @model_validator(mode="after")
    def _fits_the_aggregation(self) -> Self:
        fitting = _FITTING[self.aggregation]
        if self.type not in fitting:
            raise fault(f"{self.aggregation} cannot be of type {self.type}; {_types(fitting)}")
        if self.column is None and self.aggregation is not Aggregation.COUNT:
            raise fault(f"{self.aggregation} needs a column; add it")
        if self.aggregation in _ORDERED and self.order_by is None:
            raise fault(f"{self.aggregation} needs order_by; add the column that says which row is newer")
        if self.aggregation not in _ORDERED and self.order_by is not None:
            raise fault("order_by is only for most_recent and least_recent; remove it")
        return self

    @property
    def groups(self) -> tuple[tuple[Clause, ...], ...]:
        """The filters as ANDed groups of ORed clauses."""
        return tuple(f.any if isinstance(f, AnyOf) else (f,) for f in self.filters)


def _types(fitting: frozenset[PropertyType]) -> str:
    names = [t.value for t in PropertyType if t in fitting]
    return f"make it {names[0]}" if len(names) == 1 else "make it one of " + ", ".join(names)


# --- schedule -----------------------------------------------------------------------------------


class SkewClock(Body):
    """The application sets the cursor, within this much of the true time."""

    skew: Annotated[Skew, Field(description='How far the cursor may be off, such as "5s".')]


class DeletedColumn(Body):
    """A row with this column set is gone."""

    column: Annotated[Identifier, Field(description="The column that is set when a row is gone.")]


Clock = Annotated[
    Annotated[Literal["database", "business"], Tag("<name>")] | Annotated[SkewClock, Tag("<skew>")],
    _tag("<skew>", "<name>"),
]
Deletes = Annotated[
    Annotated[Literal["reconcile", "ignore"], Tag("<name>")] | Annotated[DeletedColumn, Tag("<column>")],
    _tag("<column>", "<name>"),
]


class Schedule(Body):
    """When and how a source is read."""

    every: Annotated[Duration | None, Field(description="Time between polls.")] = None
    cron: Annotated[Cron | None, Field(description="When to poll, as a cron line.")] = None
    cursor: Annotated[
        Identifier | None,
        Field(description="The column that says when a row changed; absent: the source is read whole."),
    ] = None
    clock: Annotated[Clock | None, Field(description="What sets the cursor; absent: undeclared.")] = None
    time_zone: Annotated[TimeZone, Field(description="The zone of date-times without one.")] = "UTC"
    deletes: Annotated[Deletes, Field(description="How deleted rows are found.")] = "reconcile"
    reconcile: Annotated[
        Literal["keys", "full"] | None,
        Field(description="What a reconciliation compares; absent: full when the clock promises nothing."),
    ] = None
    reconcile_every: Annotated[
        Duration | None, Field(description="Time between reconciliations; absent: 1h for keys, 24h for full.")
    ] = None
    page_rows: Annotated[StrictInt, Field(ge=1, le=1_000_000, description="Most rows of a page.")] = 50_000
    paused: Annotated[StrictBool, Field(description="Do not poll until resumed.")] = False
    freshness: Annotated[Duration | None, Field(description="The lag that status judges the source by.")] = (
        None
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.every is not None and self.cron is not None:
            raise fault("has both every and cron; keep one")
        if self.clock is not None and self.cursor is None:
            raise fault("clock says what sets the cursor, but there is no cursor; add it or remove clock")
        return self

    @property
    def clock_name(self) -> str:
        """`database`, `business`, `undeclared`, or `skew:<duration>`."""
        if isinstance(self.clock, SkewClock):
            return f"skew:{self.clock.model_dump()['skew']}"
        return self.clock or "undeclared"

    @property
    def reconcile_full(self) -> bool:
        """A reconciliation re-reads values too, not only keys."""
        if self.reconcile is not None:
            return self.reconcile == "full"
        return self.clock_name in {"business", "undeclared"}

    @property
    def reconciled_every(self) -> timedelta:
        """Time between reconciliations, the default filled in."""
        default = FULLY_RECONCILED_EVERY if self.reconcile_full else KEYS_RECONCILED_EVERY
        return default if self.reconcile_every is None else self.reconcile_every

    @property
    def deleted_column(self) -> str | None:
        return self.deletes.column if isinstance(self.deletes, DeletedColumn) else None


# --- sources ------------------------------------------------------------------------------------


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
    app: Annotated[Id | None, Field(description="The app to read from.")] = None
    apps: Annotated[
        tuple[Id, ...] | None,
        AfterValidator(_check_apps),
        Field(description="The apps to read from, each with its own customer."),
    ] = None
    table: Annotated[Table | None, Field(description="The table to read: name or namespace.name.")] = None
    query: Annotated[Text | None, Field(description="The query to read: one SELECT.")] = None
    key: Annotated[
        tuple[Identifier, ...],
        AfterValidator(_check_key),
        Field(description="The columns that identify a row, never null."),
    ]
    customer: Annotated[
        CustomerRule | None, Field(description="Whose rows they are; absent: the app's customer.")
    ] = None
    unknown_customers: Annotated[
        Literal["create", "hold"], Field(description="What happens to rows of a customer nobody knows.")
    ] = "create"
    schedule: Annotated[Schedule, Field(description="When and how it is read.")] = Schedule()

    @property
    def app_ids(self) -> tuple[AppId, ...]:
        """The apps that it is read from: one feed each."""
        return tuple(AppId(a) for a in (self.apps or ((self.app,) if self.app else ())))


class PrimarySource(_SourceBody):
    """The source whose rows are the records of a model."""

    primary: Annotated[Literal[True], Field(description="Its rows are the model's records.")]
    properties: Annotated[
        dict[PropertyName, PrimaryProperty], Field(description="The properties that it feeds, by name.")
    ] = Field(default_factory=dict)


class SecondarySource(_SourceBody):
    """A source whose rows add to the records of a model."""

    primary: Annotated[Literal[False], Field(description="Its rows are the model's records.")] = False
    mapping: Annotated[
        dict[Identifier, Text],
        AfterValidator(_check_mapping),
        Field(description="One column of the source to one property of the model."),
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
