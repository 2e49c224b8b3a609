"""Cut a page of source rows into batches, one for each data source that its customers lead to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headrace.domain import payload
from headrace.domain.coercion import canonical_text, coerce
from headrace.domain.events import coerce_page
from headrace.domain.vocabulary import (
    ARROW_TYPES,
    CUSTOMER,
    DELETED,
    INVALID,
    BatchKind,
    DataSourceId,
)
from headrace.ports import FeedPlan, NewBatch, RejectedRow, Routes

CUSTOMER_REFUSED = "customer_refused"
KEY_SEPARATOR = "\x1f"


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPage:
    """A page's events by data source, what was set aside, and the routing it was resolved with."""

    events: dict[DataSourceId, pa.Table]
    rejected: tuple[RejectedRow, ...]
    routing_version: int
    accepted: pa.Table
    """The source's own rows of all events, in order."""


def cut(rows: pa.Table, plan: FeedPlan, routes: Routes) -> CutPage:
    """Every row of the page is in exactly one data source's events, or among the rejected.

    Args:
        rows: utf8 columns named by the source, as a `Page` has them; the columns of `plan.source`
            that `rows` lacks are left out of the events (a read of keys alone).
    """
    columns = tuple(c for c in plan.source.columns if c.source_column in rows.column_names)
    page = coerce_page(
        rows,
        columns=columns,
        key_size=len(plan.source.key),
        customer=plan.customer,
        customer_column=plan.customer_column,
        deleted_column=plan.deleted_column,
        time_zone=plan.read.time_zone,
    )
    rejected = [RejectedRow(key=r.key, code=str(r.code), reason=r.reason, raw=r.raw) for r in page.rejected]
    accepted = rows.take(page.kept) if rejected else rows
    customers = pc.unique(page.events.column(CUSTOMER)).to_pylist()
    routing = routes.resolve(
        schema=plan.schema,
        visibility_group=plan.visibility_group,
        customers=customers,
        create_unknown=plan.create_unknown_customers,
    )
    for customer, reason in routing.refused.items():
        rejected.extend(_held(page.events, accepted, plan, customer, reason))
    return CutPage(
        events=_by_data_source(page.events, routing.data_sources),
        rejected=tuple(rejected),
        routing_version=routing.version,
        accepted=accepted,
    )


def _by_data_source(
    table: pa.Table, data_sources: Mapping[str, DataSourceId]
) -> dict[DataSourceId, pa.Table]:
    targets = sorted(set(data_sources.values()))
    if len(targets) == 1 and len(data_sources) == len(pc.unique(table.column(CUSTOMER))):
        return {targets[0]: table}
    parts = {}
    for target in targets:
        own = [c for c, d in data_sources.items() if d == target]
        part = table.filter(pc.is_in(table.column(CUSTOMER), value_set=pa.array(own, pa.string())))
        if part.num_rows:
            parts[target] = part
    return parts


def _held(
    table: pa.Table, accepted: pa.Table, plan: FeedPlan, customer: str, reason: str
) -> list[RejectedRow]:
    """The rows of a customer that leads nowhere, to be set aside until it does."""
    mask = pc.equal(table.column(CUSTOMER), pa.scalar(customer, pa.string()))
    held = accepted.filter(mask)
    keys = held.select([c.source_column for c in plan.source.key])
    return [
        RejectedRow(
            key=json.dumps(list(key.values())),
            code=CUSTOMER_REFUSED,
            reason=reason,
            raw=json.dumps(row, ensure_ascii=False),
        )
        for key, row in zip(keys.to_pylist(), held.to_pylist(), strict=True)
    ]


def seen_keys(accepted: pa.Table, plan: FeedPlan, open_keys: frozenset[str]) -> tuple[str, ...]:
    """Those of the open rejected rows' keys (JSON arrays) that these rows supersede."""
    if not open_keys or not accepted.num_rows:
        return ()
    texts = {KEY_SEPARATOR.join(str(part) for part in json.loads(key)): key for key in open_keys}
    parts: list[Any] = [accepted.column(c.source_column) for c in plan.source.key]
    joined: Any = pc.binary_join_element_wise(*parts, KEY_SEPARATOR)
    found = joined.filter(pc.is_in(joined, value_set=pa.array(list(texts), pa.string())))
    return tuple({texts[text] for text in found.to_pylist()})


def row_batches(page: CutPage, kind: BatchKind, *, only: DataSourceId | None = None) -> tuple[NewBatch, ...]:
    """One batch of rows for each data source that the page has rows for (or for `only`)."""
    return tuple(
        NewBatch(data_source_id=target, kind=kind, rows=t.num_rows, payload=payload.encode(t))
        for target, t in page.events.items()
        if only is None or target == only
    )


def deletes(keys: Sequence[tuple[str, ...]], plan: FeedPlan) -> pa.Table:
    """Delete events for keys (canonical texts) that the source no longer has.

    Where each row says its own customer the event has none: it concerns the key, whoever's it was.
    """
    size, key_names = len(keys), [c.name for c in plan.source.key]
    columns: dict[str, Any] = {}
    for column in plan.source.columns:
        if column.name in key_names:
            part = key_names.index(column.name)
            texts = pa.array([key[part] for key in keys], pa.string())
            columns[column.name] = coerce(texts, column.type, time_zone="UTC").values
        else:
            columns[column.name] = pa.array([None] * size, ARROW_TYPES[column.type])
    columns[CUSTOMER] = pa.array([plan.customer] * size, pa.string())
    columns[DELETED] = pa.array([True] * size, pa.bool_())
    columns[INVALID] = pa.array([None] * size, pa.string())
    return pa.table(columns)


def canonical_keys(rows: pa.Table, plan: FeedPlan) -> list[tuple[str | None, ...]]:
    """The keys of source rows as canonical texts, None where a part is null or does not fit."""
    parts = [
        canonical_text(
            coerce(rows.column(c.source_column), c.type, time_zone=plan.read.time_zone).values
        ).to_pylist()
        for c in plan.source.key
    ]
    return list(zip(*parts, strict=True))
