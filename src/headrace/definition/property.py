"""What a person writes of a source's properties, with aggregations and filters."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import Discriminator, Field, Tag, model_validator

from headrace.definition.values import Body, Identifier, fault
from headrace.domain.vocabulary import Aggregation, FilterOp, PropertyType

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


class Clause(Body):
    """One comparison of a column."""

    column: Annotated[Identifier, Field(description="The column of the source to compare.")]
    op: Annotated[FilterOp, Field(description="How to compare.")]
    value: Annotated[
        Any,
        Field(
            description="A text, number or boolean; a list for in and not_in; none for exists and not_exists."
        ),
    ] = None

    @model_validator(mode="after")
    def _value_suits_the_operator(self) -> Self:
        has_value = "value" in self.model_fields_set
        if self.op in {FilterOp.EXISTS, FilterOp.NOT_EXISTS}:
            if self.value is not None:
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
        if self.value is None:
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

Type = Annotated[PropertyType, Field(description="The type that the record keeps.")]


class PrimaryProperty(Body):
    """A property that a primary source feeds: a column of its row."""

    type: Type
    column: Annotated[Identifier, Field(description="The column of the source that feeds it.")]


class SecondaryProperty(Body):
    """A property that a secondary source feeds: an aggregate over the rows of a record."""

    type: Type
    column: Annotated[
        Identifier | None, Field(description="What is aggregated; count without it counts rows.")
    ] = None
    aggregation: Annotated[
        Aggregation,
        Field(description="How many rows become one value; value: that of the row with the least key."),
    ] = Aggregation.VALUE
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
