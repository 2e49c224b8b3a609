"""Queries of records as URLs write them: `filter=property:op:value`, `sort=-a,b`, `fields=a,b`, `after`.

A filter's value is all that follows the second colon. `in` and `not_in` take several, between commas; a comma
or backslash of a value is written with a backslash before it. `exists` and `not_exists` take none.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, TypeGuard

from headrace.domain.record_query import (
    MAX_LIMIT,
    Place,
    RecordQuery,
    Sort,
    canonical,
    order_of,
    record_columns,
)
from headrace.domain.refusal import Refusal
from headrace.domain.shape import Column, FilterClause, ModelShape
from headrace.domain.vocabulary import FilterOp, PropertyType
from headrace.errors import RefusedError

MAX_FILTERS: Final = 20
MAX_VALUES: Final = 200
MAX_SORTS: Final = 8

_LISTED: Final = re.compile(r"((?:[^,\\]|\\.)*)(?:,|\Z)", re.DOTALL)
_WITHOUT_VALUE: Final = frozenset({FilterOp.EXISTS, FilterOp.NOT_EXISTS})
_OF_TEXT: Final = frozenset({FilterOp.CONTAINS, FilterOp.NOT_CONTAINS, FilterOp.STARTS_WITH})
_SEVERAL: Final = frozenset({FilterOp.IN, FilterOp.NOT_IN})


def parse_query(
    model: ModelShape,
    *,
    filters: Sequence[str] = (),
    sort: str | None = None,
    fields: str | None = None,
    limit: int,
    after: str | None = None,
) -> RecordQuery:
    """The query that these parameters mean.

    Raises:
        RefusedError: `invalid_request`, saying which of them is wrong, and what would be right.
    """
    columns = record_columns(model)
    if not 1 <= limit <= MAX_LIMIT:
        raise _wrong(f"limit: {limit} is not from 1 to {MAX_LIMIT}")
    if len(filters) > MAX_FILTERS:
        raise _wrong(f"filter: {len(filters)} are more than {MAX_FILTERS}")
    query = RecordQuery(
        filters=tuple(_filter(text, columns) for text in filters),
        sort=_sorts(sort, columns) if sort else (),
        fields=parse_fields(model, fields) if fields else None,
        limit=limit,
    )
    if after is None:
        return query
    place = decode_place(after, model, query)
    return RecordQuery(
        filters=query.filters, sort=query.sort, fields=query.fields, limit=query.limit, after=place
    )


def parse_fields(model: ModelShape, text: str) -> tuple[str, ...]:
    """The names between commas, each once.

    Raises:
        RefusedError: `invalid_request`: a record has no such property.
    """
    columns = record_columns(model)
    return tuple(dict.fromkeys(_column(name, columns, parameter="fields").name for name in text.split(",")))


def encode_place(place: Place, model: ModelShape, query: RecordQuery) -> str:
    """The opaque text of a place, which only continues a query with the same filters and sorting."""
    content = {"q": _fingerprint(model, query), "v": place.values, "k": place.key}
    return urlsafe_b64encode(_canonical_json(content).encode()).rstrip(b"=").decode()


def decode_place(text: str, model: ModelShape, query: RecordQuery) -> Place:
    """The place that `encode_place` wrote.

    Raises:
        RefusedError: `invalid_request`: it is none, or of another query.
    """
    content = _content(text)
    columns = record_columns(model)
    values, key = content.get("v"), content.get("k")
    if content.get("q") != _fingerprint(model, query):
        raise _wrong("after: it belongs to a query with other filters or another sorting; begin without it")
    if not _are_texts(key) or len(key) != len(model.key):
        raise _wrong(_NO_PLACE)
    if not _are_texts_or_null(values) or len(values) != len(query.sort):
        raise _wrong(_NO_PLACE)
    return Place(
        values=tuple(
            None if value is None else canonical(value, columns[sort.column])
            for value, sort in zip(values, query.sort, strict=True)
        ),
        key=tuple(canonical(part, column) for part, column in zip(key, model.key, strict=True)),
    )


_NO_PLACE: Final = "after: give the `next` of the page before, as it is"


def _content(text: str) -> Mapping[str, Any]:
    try:
        decoded = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        content = json.loads(decoded)
    except (ValueError, RecursionError):
        raise _wrong(_NO_PLACE) from None
    if not isinstance(content, dict):
        raise _wrong(_NO_PLACE)
    return content


def _are_texts(values: Any) -> TypeGuard[list[str]]:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _are_texts_or_null(values: Any) -> TypeGuard[list[str | None]]:
    return isinstance(values, list) and all(value is None or isinstance(value, str) for value in values)


def _fingerprint(model: ModelShape, query: RecordQuery) -> str:
    asked = [
        model.id,
        [[clause.column, clause.op.value, clause.values] for clause in query.filters],
        [[sort.column, sort.descending] for sort in order_of(model, query)],
    ]
    return sha256(_canonical_json(asked).encode()).hexdigest()[:16]


def _canonical_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _filter(text: str, columns: Mapping[str, Column]) -> FilterClause:
    name, _, rest = text.partition(":")
    written, colon, value = rest.partition(":")
    column = _column(name, columns, parameter="filter")
    try:
        op = FilterOp(written)
    except ValueError:
        meant = f"write {name}:op:value with one of {', '.join(FilterOp)}"
        raise _wrong(f'filter: "{written[:40]}" is no comparison: {meant}') from None
    if op in _WITHOUT_VALUE:
        if colon:
            raise _wrong(f"filter: {name}:{op} takes no value")
        return FilterClause(column=name, op=op)
    if not colon:
        raise _wrong(f"filter: {name}:{op} needs a value: {name}:{op}:value")
    if column.type is PropertyType.JSON:
        raise _wrong(f"filter: {name} is JSON, of which only exists and not_exists can be asked")
    if op in _OF_TEXT:
        return FilterClause(column=name, op=op, values=(_text(value, name),))
    values = _listed(value) if op in _SEVERAL else (value,)
    if len(values) > MAX_VALUES:
        raise _wrong(f"filter: {name}:{op} has {len(values)} values, more than {MAX_VALUES}")
    return FilterClause(column=name, op=op, values=tuple(canonical(v, column) for v in values))


def _text(value: str, name: str) -> str:
    return canonical(value, Column(name=name, type=PropertyType.STRING, source_column=name))


def _listed(text: str) -> tuple[str, ...]:
    """The texts between commas; what follows a backslash is itself."""
    parts, at = [], 0
    while True:
        found = _LISTED.match(text, at)
        if found is None:
            raise _wrong("filter: a backslash at the end of a list stands for nothing; write two of them")
        parts.append(re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL))
        at = found.end()
        if not found[0].endswith(",") or at == found.end(1):
            return tuple(parts)


def _sorts(text: str, columns: Mapping[str, Column]) -> tuple[Sort, ...]:
    sorts = []
    for part in text.split(","):
        name = part.removeprefix("-")
        if _column(name, columns, parameter="sort").type is PropertyType.JSON:
            raise _wrong(f"sort: {name} is JSON, which has no order")
        sorts.append(Sort(name, descending=part.startswith("-")))
    if len({sort.column for sort in sorts}) < len(sorts):
        raise _wrong("sort: a property is named twice")
    if len(sorts) > MAX_SORTS:
        raise _wrong(f"sort: {len(sorts)} properties are more than {MAX_SORTS}")
    return tuple(sorts)


def _column(name: str, columns: Mapping[str, Column], *, parameter: str) -> Column:
    if (column := columns.get(name)) is not None:
        return column
    raise _wrong(f'{parameter}: "{name[:80]}" is no property; there are {", ".join(columns)}')


def _wrong(detail: str) -> RefusedError:
    return RefusedError(Refusal.INVALID, detail)
