"""Records as commands show them: found in every data source of their model, typed for people and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import ARROW_TYPES, DataSourceId, PropertyType
from headrace.errors import ConfigurationError, RefusedError

if TYPE_CHECKING:
    from headrace.ports.records import ResolvedRoute
    from headrace.steps.records import Reading
    from headrace.wiring import Application


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A record and where it is. `values` has `_customer_id`, the properties, `_created_at`,
    `_updated_at` and `_invalid`, in this order."""

    data_source: DataSourceId
    values: dict[str, Any]

    @property
    def customer(self) -> str:
        return str(self.values["_customer_id"])


def find_records(
    app: Application, model: ModelShape, *, key: Sequence[str], customer: str | None, limit: int
) -> list[Found]:
    """At most `limit` records, by data source and primary key.

    Args:
        key: the parts of one key as a person types them; empty for all records.
        customer: whose, by its `provided_id`: read where its route leads, as the customer itself reads them.

    Raises:
        RefusedError: the customer's route is refused.
    """
    wanted = canonical_key(model, key) if key else None
    if customer is not None:
        return _find_of_customer(app, model, key=wanted, customer=customer, limit=limit)
    found: list[Found] = []
    for data_source, of_model in app.targets():
        if of_model == model.id and len(found) < limit:
            store = app.stores.open(data_source)
            rows = store.records(model, customer=None, key=wanted, limit=limit - len(found))
            found += [
                Found(data_source=data_source, values=row) for row in plain_rows(rows, json_columns(model))
            ]
    return found


def _find_of_customer(
    app: Application, model: ModelShape, *, key: tuple[str, ...] | None, customer: str, limit: int
) -> list[Found]:
    """Of the customers with this `provided_id` in whatever visibility group."""
    from headrace.domain.refusal import Refusal
    from headrace.steps.records import Reading

    bodies = app.catalogue().bodies
    schema = bodies["models", model.id]["schema"]
    found: list[Found] = []
    for group in sorted(id_ for kind, id_ in bodies if kind == "visibility_groups"):
        reading = Reading(group, customer, schema, model)
        try:
            read = _read_all(app, reading, key, limit - len(found))
            found += [_found(model, customer, route.data_source, text) for route, text in read]
        except RefusedError as error:
            if error.code != Refusal.NOT_FOUND:
                raise
    return found


def _read_all(
    app: Application, reading: Reading, key: tuple[str, ...] | None, limit: int
) -> Iterator[tuple[ResolvedRoute, str]]:
    """Records as JSON, and where each was read."""
    from headrace.domain.record_query import MAX_LIMIT, RecordQuery

    if key is not None:
        route, record = app.records.one(reading, key)
        yield from [(route, record)] if record is not None else []
        return
    query: RecordQuery | None = RecordQuery(limit=min(limit, MAX_LIMIT))
    while query is not None and limit > 0:
        route, page = app.records.page(reading, query)
        yield from ((route, item) for item in page.items)
        limit -= len(page.items)
        query = None if page.end is None else RecordQuery(limit=max(1, min(limit, MAX_LIMIT)), after=page.end)


def _found(model: ModelShape, customer: str, data_source: DataSourceId, text: str) -> Found:
    from headrace.domain.record_query import record_columns
    from headrace.domain.vocabulary import CUSTOMER

    values = {CUSTOMER: customer, **json.loads(text)}
    for column in record_columns(model).values():
        if (value := values[column.name]) is None:
            continue
        if column.type is PropertyType.DATETIME:
            values[column.name] = datetime.fromisoformat(value)
        elif column.type is PropertyType.DATE:
            values[column.name] = date.fromisoformat(value)
    return Found(data_source=data_source, values=values)


def canonical_key(model: ModelShape, key: Sequence[str]) -> tuple[str, ...]:
    """The key's parts as canonical texts of their types, or a fault that says what is wrong."""
    from headrace.domain.coercion import coerce_scalar

    names = [column.name for column in model.key]
    if len(key) != len(names):
        raise ConfigurationError(
            f"the key of {model.id} is {' '.join(names)}: give {_parts(len(names))}, not {len(key)}"
        )
    texts = []
    for text, column in zip(key, model.key, strict=True):
        canonical = coerce_scalar(text, column.type)
        if canonical is None:
            raise ConfigurationError(f'"{text}" is no {column.type}, as the {column.name} of {model.id} is')
        texts.append(canonical)
    return tuple(texts)


def canonical(value: Any, kind: PropertyType) -> str | None:
    """The canonical text of a record's value; None for null."""
    import pyarrow as pa

    from headrace.domain.coercion import canonical_text

    if value is None:
        return None
    if kind is PropertyType.JSON and not isinstance(value, str):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    text = canonical_text(pa.array([value], ARROW_TYPES[kind]))[0].as_py()
    return None if text is None else str(text)


def _parts(number: int) -> str:
    return "one value" if number == 1 else f"{number} values"


def json_columns(model: ModelShape) -> frozenset[str]:
    return frozenset({"_invalid"} | {c.name for c in model.columns if c.type is PropertyType.JSON})


def plain_rows(rows: Any, of_json: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Rows of an Arrow table as plain values: JSON texts are parsed."""
    for row in rows.to_pylist():
        yield {
            name: json.loads(value) if name in of_json and isinstance(value, str) else value
            for name, value in row.items()
        }


def when(value: Any) -> Any:
    """A date-time to the second, for a table that shows many."""
    return value.replace(microsecond=0) if isinstance(value, datetime) else value
