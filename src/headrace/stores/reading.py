"""Rows of a data source's tables as Arrow tables, in the types that batches have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from headrace.domain.json_text import canonical_json
from headrace.domain.shape import Column
from headrace.domain.vocabulary import ARROW_TYPES, PropertyType
from headrace.stores.dialect import Binds
from headrace.stores.frame import Frame

_AS_TEXT = frozenset({PropertyType.DECIMAL, PropertyType.DATE, PropertyType.DATETIME, PropertyType.JSON})


def read_rows(
    frame: Frame,
    binds: Binds,
    *,
    table: str,
    columns: Sequence[Column],
    conditions: Sequence[str],
    order: Sequence[Column],
    limit: int,
) -> pa.Table:
    """At most `limit` rows in the order given, which the primary key's index serves."""
    dialect = frame.dialect
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    ordered = ", ".join(dialect.comparable(frame.q(c.name), c.type) for c in order)
    selected = ", ".join(
        dialect.canonical_text(frame.q(c.name), c.type) if c.type in _AS_TEXT else frame.q(c.name)
        for c in columns
    )
    rows = frame.session.all(
        f"SELECT {selected} FROM {table}{where} ORDER BY {ordered} LIMIT {binds.add(limit)}", binds
    )
    values: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(columns)
    arrays = [_array(c.type, v) for c, v in zip(columns, values, strict=True)]
    return pa.Table.from_arrays(arrays, names=[c.name for c in columns])


def _array(type_: PropertyType, values: Sequence[Any]) -> pa.Array[Any]:
    if type_ is PropertyType.JSON:
        array: pa.Array[Any] = canonical_json(pa.array(values, pa.string()))
        return array
    if type_ in _AS_TEXT:
        return pa.array(values, pa.string()).cast(ARROW_TYPES[type_])
    if type_ is PropertyType.BOOLEAN:
        return pa.array([None if v is None else bool(v) for v in values], pa.bool_())
    return pa.array(values, ARROW_TYPES[type_])
