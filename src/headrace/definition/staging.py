"""Which columns of a secondary source are staged, as which types, under which names."""

from __future__ import annotations

from hashlib import sha256

from headrace.definition.filter_value import canonical_text
from headrace.definition.property import TYPED_BY_PROPERTY, Clause, SecondaryProperty
from headrace.definition.source import CustomerColumn, SecondarySource
from headrace.definition.source_rules import filter_type
from headrace.definition.values import MAX_NAME_BYTES
from headrace.domain.shape import Column, FilterClause, Mapping, PropertyShape, SourceShape
from headrace.domain.vocabulary import ModelId, PropertyType, SourceId
from headrace.errors import InvariantError
from headrace.ports import TableFacts


class _Staged:
    """The staged columns as they are asked for: one for each (source column, type)."""

    def __init__(self, facts: TableFacts) -> None:
        self._facts = facts
        self._columns: dict[tuple[str, PropertyType], Column] = {}
        self._names: set[str] = set()

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(self._columns.values())

    def fact_type(self, column: str) -> PropertyType:
        found = self._facts.column(column)
        if found is None:
            raise InvariantError(f"column {column} was not checked against the facts")
        return found.type

    def column(self, source_column: str, type_: PropertyType) -> Column:
        known = self._columns.get((source_column, type_))
        if known is not None:
            return known
        used = any(name == source_column for name, _ in self._columns)
        wanted = f"{source_column}__{type_}" if used else source_column
        made = Column(name=self._free_name(wanted), type=type_, source_column=source_column)
        self._columns[source_column, type_] = made
        return made

    def _free_name(self, wanted: str) -> str:
        # A leading underscore is Headrace's own; stores do not tell names by case, and cut long ones.
        name = f"c{wanted}" if wanted.startswith("_") else wanted
        if len(name.encode()) > MAX_NAME_BYTES or name.casefold() in self._names:
            digest = sha256(wanted.encode()).hexdigest()[:8]
            name = f"{name.encode()[: MAX_NAME_BYTES - 10].decode(errors='ignore')}__{digest}"
        self._names.add(name.casefold())
        return name


def secondary_shape(
    source_id: SourceId, source: SecondarySource, facts: TableFacts, mapped_type: PropertyType
) -> SourceShape:
    """The shape of a secondary source: staged are its key, the mapped column, and what properties,
    orders and filters need, in this order; a column has one staged column for each type."""
    staged = _Staged(facts)
    key = tuple(staged.column(c, staged.fact_type(c)) for c in source.key)
    mapped = staged.column(source.mapping_column, mapped_type)
    for property_ in source.properties.values():
        _value_column(staged, property_)
    for property_ in source.properties.values():
        _order_column(staged, source, property_)
    properties = tuple(
        PropertyShape(
            name=name,
            type=p.type,
            aggregation=p.aggregation,
            column=_value_column(staged, p),
            order_by=_order_column(staged, source, p),
            filters=tuple(tuple(_clause(staged, source, c) for c in group) for group in p.groups),
        )
        for name, p in source.properties.items()
    )
    return SourceShape(
        id=source_id,
        model=ModelId(source.model),
        primary=False,
        key=key,
        columns=staged.columns,
        properties=properties,
        mapping=Mapping(column=mapped.name, property=source.mapped_property),
        customer_in_column=isinstance(source.customer, CustomerColumn),
        many_apps=source.apps is not None,
    )


def _value_column(staged: _Staged, property_: SecondaryProperty) -> str | None:
    if property_.column is None:
        return None
    typed = property_.aggregation in TYPED_BY_PROPERTY
    type_ = property_.type if typed else staged.fact_type(property_.column)
    return staged.column(property_.column, type_).name


def _order_column(staged: _Staged, source: SecondarySource, property_: SecondaryProperty) -> str | None:
    if property_.order_by is None:
        return None
    type_ = source.column_type(property_.order_by) or staged.fact_type(property_.order_by)
    return staged.column(property_.order_by, type_).name


def _clause(staged: _Staged, source: SecondarySource, clause: Clause) -> FilterClause:
    type_ = filter_type(source, clause.column)
    zone = source.schedule.time_zone
    return FilterClause(
        column=staged.column(clause.column, type_).name,
        op=clause.op,
        values=tuple(canonical_text(value, type_, zone) for value in clause.values),
    )
