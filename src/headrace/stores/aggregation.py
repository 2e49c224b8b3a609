"""The properties of a secondary source as SQL over its staged rows."""

from __future__ import annotations

from headrace.domain.shape import Column, PropertyShape, SourceShape
from headrace.domain.vocabulary import APP, CUSTOMER, INVALID, PropertyType
from headrace.stores.dialect import Aggregate, Binds
from headrace.stores.filter_sql import filter_sql

AGGREGATED = "_aggregated_invalid"


def aggregate_expressions(binds: Binds, source: SourceShape, *, alias: str) -> list[str]:
    """One expression per property, then that of their invalid entries, over rows of `alias` (the
    right side of an outer join: a row of nulls stands for none)."""
    columns = {c.name: c for c in source.columns}
    app = (Column(name=APP, type=PropertyType.STRING, source_column=APP),)
    key = (*source.key, *(app if source.many_apps else ()))

    def refer(name: str) -> str:
        return f"{alias}.{binds.dialect.quote(name)}"

    def aggregate(shape: PropertyShape) -> str:
        column = columns[shape.column] if shape.column is not None else None
        order_by = columns[shape.order_by] if shape.order_by is not None else None
        conditions = [f"{refer(CUSTOMER)} IS NOT NULL", *filter_sql(binds, shape, columns, refer)]
        return binds.dialect.aggregate(
            Aggregate(
                shape=shape,
                column=refer(column.name) if column else None,
                column_type=column.type if column else None,
                order_by=(refer(order_by.name), order_by.type) if order_by else None,
                key=tuple((refer(c.name), c.type) for c in key),
                condition=" AND ".join(conditions),
            )
        )

    with_column = [p for p in source.properties if p.column is not None]
    invalid = binds.dialect.invalid_of(binds, refer(INVALID), with_column) if with_column else "NULL"
    return [*map(aggregate, source.properties), invalid]
