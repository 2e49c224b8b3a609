"""What is asked of a model's records: filters, sorting, a page, fields. Pure: what stores answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headrace.domain.coercion import coerce_scalar
from headrace.domain.refusal import Refusal
from headrace.domain.shape import Column, FilterClause, ModelShape
from headrace.domain.vocabulary import CREATED, INVALID, TEXT_TYPES, UPDATED, PropertyType
from headrace.errors import RefusedError

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100

_INT64: Final = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Sort:
    """One property to sort by; nulls come last either way."""

    column: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the last record's sort values, then its key, as canonical texts."""

    values: tuple[str | None, ...]
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordQuery:
    """One page of the records of a model, for one customer.

    Attributes:
        filters: all hold; their values are canonical texts of the column's type.
        sort: the record's key comes after it, so that the order is total.
        fields: what is told of each record, in this order; None: everything but the customer.
        after: the end of the page before.
    """

    filters: tuple[FilterClause, ...] = ()
    sort: tuple[Sort, ...] = ()
    fields: tuple[str, ...] | None = None
    limit: int = DEFAULT_LIMIT
    after: Place | None = None


def record_columns(model: ModelShape) -> Mapping[str, Column]:
    """All that is told of a record, by name: properties, when it was made and changed, what did not fit."""
    dated = (Column(name=n, type=PropertyType.DATETIME, source_column=n) for n in (CREATED, UPDATED))
    invalid = Column(name=INVALID, type=PropertyType.JSON, source_column=INVALID)
    return {column.name: column for column in (*model.columns, *dated, invalid)}


def order_of(model: ModelShape, query: RecordQuery) -> tuple[Sort, ...]:
    """The query's order made total by what of the key it lacks."""
    named = {sort.column for sort in query.sort}
    return (*query.sort, *(Sort(column.name) for column in model.key if column.name not in named))


def canonical(text: str, column: Column) -> str:
    """The canonical text of a value that somebody gave for a column.

    Raises:
        RefusedError: `invalid_request`: it does not fit the column's type.
    """
    fitting = fitting_text(text, column)
    if fitting is None:
        raise RefusedError(Refusal.INVALID, f'"{text[:100]}" is no {column.type}, as {column.name} is')
    return fitting


def canonical_key(model: ModelShape, parts: tuple[str, ...]) -> tuple[str, ...] | None:
    """The key's canonical texts; None when no record can have it: a part does not fit, or their number."""
    if len(parts) != len(model.key):
        return None
    texts = []
    for text, column in zip(parts, model.key, strict=True):
        fitting = fitting_text(text, column)
        if fitting is None:
            return None
        texts.append(fitting)
    return tuple(texts)


def fitting_text(text: str, column: Column) -> str | None:
    """The canonical text of the value; None when it does not fit the column's type."""
    kind = column.type
    if not _is_storable(text):
        return None
    # What most keys are, without the way through a column of Arrow's.
    if kind is PropertyType.INTEGER and len(text) < 20 and text.isdecimal() and text.isascii():
        return str(int(text)) if int(text) in _INT64 else None
    if kind in TEXT_TYPES:
        # A text that is no email address is in no column of them: it only matches nothing.
        return text
    return coerce_scalar(text, kind)


def _is_storable(text: str) -> bool:
    """Neither a NUL nor half a surrogate pair: no database holds or compares them."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
