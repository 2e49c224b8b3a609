"""The resolved shape of models and sources: all that a store needs to keep and merge them.

Definitions say what a person wrote; a shape also knows what only the source's catalogue could tell
(the type of a key column without a property). Shapes are compiled by `apply`, kept in the control
database, and every batch carries the fingerprint of the shape that it was cut by.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, TypeVar

from pydantic import TypeAdapter

from headrace.domain.vocabulary import Aggregation, FilterOp, ModelId, PropertyType, SourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A typed column of a record table, a staged table, or a batch (the same name in each)."""

    name: str
    type: PropertyType
    source_column: str
    """The column of the source that feeds it; for an aggregated property of a record, its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterClause:
    """One comparison on a staged column; false when the column is null, but for `not_exists`."""

    column: str
    op: FilterOp
    values: tuple[str, ...] = ()
    """Canonical texts of the column's type: one, several for in and not_in, none for exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyShape:
    """One property of a record as its source computes it.

    For a primary source `column` is the property's own column of the batch and `aggregation` is
    `value`. For a secondary source `column` and `order_by` name staged columns; `column` is None
    only for `count` of rows.
    """

    name: str
    type: PropertyType
    aggregation: Aggregation
    column: str | None
    order_by: str | None = None
    filters: tuple[tuple[FilterClause, ...], ...] = ()
    """ANDed groups, the clauses inside a group ORed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """Rows of a secondary source belong to the records whose `property` equals their `column`."""

    column: str
    """A staged column, of the type of `property`."""
    property: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceShape:
    """One source as the store sees it.

    Invariant: `key` is a prefix of `columns`; a batch of rows of this source has exactly
    `columns`, then `_customer_id`, `_deleted` and `_invalid`.
    """

    id: SourceId
    model: ModelId
    primary: bool
    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    properties: tuple[PropertyShape, ...]
    mapping: Mapping | None = None
    customer_in_column: bool = False
    many_apps: bool = False
    """Read from several databases: the staged table's key has the app, and a feed's rows of the
    record table are those of its app's customer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A model with its sources in dependency order: the primary first, then each secondary source
    after the source that feeds the property that it is mapped to."""

    id: ModelId
    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    """All properties of all sources, the key first."""
    sources: tuple[SourceShape, ...]

    @property
    def primary(self) -> SourceShape:
        return self.sources[0]

    def source(self, source_id: str) -> SourceShape:
        return next(s for s in self.sources if s.id == source_id)


T = TypeVar("T")


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def dump_json(value: Any) -> str:
    """Canonical JSON of a shape or plan (any frozen dataclass of theirs): keys sorted, no spaces, so
    that equal values give equal texts."""
    plain = _adapter(type(value)).dump_python(value, mode="json")  # type: ignore[arg-type]
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def load_json(kind: type[T], text: str) -> T:
    """The value of `kind` that `dump_json` wrote; equal to it.

    Raises:
        pydantic.ValidationError: the text is not JSON of `kind`: it was written by another version.
    """
    loaded: T = _adapter(kind).validate_json(text)  # type: ignore[arg-type]
    return loaded


def shape_fingerprint(source: SourceShape) -> str:
    """SHA-256, in hex, of the canonical JSON of a source's shape: batches cut by one fit only it."""
    return sha256(dump_json(source).encode()).hexdigest()
