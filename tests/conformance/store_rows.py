"""Shapes and batches for the conformance suite of record stores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from headrace.domain import shape as shapes
from headrace.domain.shape import (
    Column,
    FilterClause,
    ModelShape,
    PropertyShape,
    SourceShape,
)
from headrace.domain.vocabulary import (
    ARROW_TYPES,
    CUSTOMER,
    DELETED,
    INVALID,
    Aggregation,
    AppId,
    FeedId,
    FilterOp,
    ModelId,
    PropertyType,
    SourceId,
)
from headrace.ports import FeedScope

ACME = "acme"


def columns(**types: str) -> tuple[Column, ...]:
    return tuple(Column(name=n, type=PropertyType(t), source_column=n) for n, t in types.items())


def prop(
    name: str,
    type_: str,
    aggregation: str = "value",
    column: str | None = None,
    *,
    order_by: str | None = None,
    where: Sequence[Any] = (),
) -> PropertyShape:
    """`where`: (column, op, values…) for a group of one clause, a list of such for several."""
    groups = tuple(
        tuple(
            FilterClause(column=c, op=FilterOp(op), values=tuple(values))
            for c, op, *values in (group if isinstance(group, list) else [group])
        )
        for group in where
    )
    return PropertyShape(
        name=name,
        type=PropertyType(type_),
        aggregation=Aggregation(aggregation),
        column=column,
        order_by=order_by,
        filters=groups,
    )


def primary(shape: Mapping[str, str], key: int = 1, source: str = "users", **options: bool) -> SourceShape:
    cols = columns(**shape)
    return SourceShape(
        id=SourceId(source),
        model=ModelId("users"),
        primary=True,
        key=cols[:key],
        columns=cols,
        properties=tuple(prop(c.name, c.type, "value", c.name) for c in cols),
        **options,
    )


def secondary(
    source: str,
    shape: Mapping[str, str],
    mapping: tuple[str, str],
    *properties: PropertyShape,
    key: int = 1,
    **options: bool,
) -> SourceShape:
    cols = columns(**shape)
    return SourceShape(
        id=SourceId(source),
        model=ModelId("users"),
        primary=False,
        key=cols[:key],
        columns=cols,
        properties=properties,
        mapping=shapes.Mapping(column=mapping[0], property=mapping[1]),
        **options,
    )


def model(first: SourceShape, *others: SourceShape) -> ModelShape:
    fed = [Column(name=p.name, type=p.type, source_column=p.name) for s in others for p in s.properties]
    return ModelShape(id=first.model, key=first.key, columns=(*first.columns, *fed), sources=(first, *others))


def batch(source: SourceShape, rows: Iterable[Mapping[str, Any]], customer: str | None = ACME) -> pa.Table:
    """Rows by column name; `_customer_id`, `_deleted` and `_invalid` (a dict) where they matter."""
    rows = list(rows)
    arrays = [pa.array([r.get(c.name) for r in rows], ARROW_TYPES[c.type]) for c in source.columns]
    invalid = [json.dumps(r[INVALID]) if r.get(INVALID) else None for r in rows]
    arrays += [
        pa.array([r.get(CUSTOMER, customer) for r in rows], pa.string()),
        pa.array([bool(r.get(DELETED)) for r in rows], pa.bool_()),
        pa.array(invalid, pa.string()),
    ]
    return pa.Table.from_arrays(arrays, names=[*(c.name for c in source.columns), CUSTOMER, DELETED, INVALID])


def keys(source: SourceShape, rows: Iterable[Sequence[Any]], customer: str = ACME) -> pa.Table:
    """Keys of a chunk; a row longer than the key names its customer last."""
    rows = [tuple(r) for r in rows]
    size = len(source.key)
    arrays = [pa.array([r[i] for r in rows], ARROW_TYPES[c.type]) for i, c in enumerate(source.key)]
    arrays.append(pa.array([r[size] if len(r) > size else customer for r in rows], pa.string()))
    return pa.Table.from_arrays(arrays, names=[*(c.name for c in source.key), CUSTOMER])


def scope(
    source: SourceShape, customer: str | None = ACME, app: str = "app", feed: str | None = None
) -> FeedScope:
    return FeedScope(
        feed_id=FeedId(feed or f"feed-{source.id}-{app}"),
        app_id=AppId(app),
        source=source,
        customer=customer,
    )
