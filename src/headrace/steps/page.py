"""Cut a page of source rows into batches, one for each data source that its customers lead to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headrace.domain import events, payload
from headrace.domain.arrow import Array
from headrace.domain.coercion import canonical_text, coerce
from headrace.domain.events import RejectCode, SetAside, coerce_page, key_json, set_aside
from headrace.domain.vocabulary import CUSTOMER, INVALID, BatchKind, DataSourceId
from headrace.ports import FeedPlan, NewBatch, RejectedRow, Routes, Routing
from headrace.steps.silence import silence_meta

Key = tuple[str, ...]
"""The parts of a key as texts, in the order of the plan's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPage:
    """A page's events by data source, what was set aside, and the routing it was resolved with.

    Attributes:
        events: those of a customer who moves are in two data sources.
        accepted: the source's own rows of all events, in order.
        customers: whose rows it has.
    """

    events: dict[DataSourceId, pa.Table]
    rejected: tuple[RejectedRow, ...]
    accepted: pa.Table
    customers: tuple[str, ...]
    routing: Routing

    @property
    def invalid(self) -> int:
        """Events with a value that did not fit."""
        return sum(t.num_rows - t.column(INVALID).null_count for t in self.events.values())


def cut(rows: pa.Table, plan: FeedPlan, routes: Routes) -> CutPage:
    """Every row of the page is in the events of its customer's data source, and of the one that the customer
    moves to, or among the rejected.

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
        indexed=plan.indexed,
        time_zone=plan.read.time_zone,
    )
    accepted = rows.take(page.kept) if page.rejected else rows
    customers = page.events.column(CUSTOMER)
    named = tuple(pc.unique(customers).to_pylist())
    routing = resolved(named, plan, routes)
    held = _held(accepted, customers, plan, routing.refused)
    return CutPage(
        events=_by_data_source(page.events, routing),
        rejected=tuple(
            RejectedRow(key=r.key, code=str(r.code), reason=r.reason, raw=r.raw)
            for r in (*page.rejected, *held)
        ),
        accepted=accepted,
        customers=named,
        routing=routing,
    )


def resolved(customers: Sequence[str], plan: FeedPlan, routes: Routes) -> Routing:
    """Where rows of these customers go now."""
    return routes.resolve(
        schema=plan.schema,
        visibility_group=plan.visibility_group,
        customers=customers,
        create_unknown=plan.create_unknown_customers,
    )


def _by_data_source(table: pa.Table, routing: Routing) -> dict[DataSourceId, pa.Table]:
    led = [*routing.data_sources.items(), *routing.moving.items()]
    targets = sorted({target for _, target in led})
    if len(targets) == 1 and len(led) == len(pc.unique(table.column(CUSTOMER))):
        return {targets[0]: table}
    parts = {}
    for target in targets:
        own = [customer for customer, into in led if into == target]
        part = table.filter(pc.is_in(table.column(CUSTOMER), value_set=pa.array(own, pa.string())))
        if part.num_rows:
            parts[target] = part
    return parts


def _held(
    accepted: pa.Table, customers: Array, plan: FeedPlan, refused: Mapping[str, str]
) -> tuple[SetAside, ...]:
    """The rows of customers that lead nowhere, to be set aside until they do."""
    if not refused:
        return ()
    is_refused: Array = pc.is_in(customers, value_set=pa.array(list(refused), pa.string()))
    rows = pc.indices_nonzero(is_refused)
    named: list[str] = customers.take(rows).to_pylist()
    indexes: list[Any] = rows.to_pylist()
    faults = {
        row: (RejectCode.CUSTOMER_REFUSED, refused[customer])
        for row, customer in zip(indexes, named, strict=True)
    }
    return set_aside(accepted, plan.source.key, faults)


def seen_keys(accepted: pa.Table, plan: FeedPlan, open_keys: frozenset[str]) -> tuple[str, ...]:
    """Those of the open rejected rows' keys (JSON arrays) that these rows supersede."""
    if not open_keys or not accepted.num_rows:
        return ()
    keys = accepted.select([c.source_column for c in plan.source.key])
    wanted = [json.loads(key) for key in open_keys]
    for place, name in enumerate(keys.column_names):
        # Column by column, so that Python sees only the few rows that may be meant.
        parts = pa.array([key[place] for key in wanted], pa.string()).drop_null()
        keys = keys.filter(pc.is_in(keys.column(name), value_set=parts))
    found = {key_json(list(row.values())) for row in keys.to_pylist()}
    return tuple(sorted(found & open_keys))


def row_batches(page: CutPage, kind: BatchKind, *, only: DataSourceId | None = None) -> tuple[NewBatch, ...]:
    """One batch of rows for each data source that the page has rows for (or for `only`)."""
    return tuple(
        NewBatch(
            data_source_id=target,
            kind=kind,
            rows=t.num_rows,
            payload=payload.encode(t),
            meta=silence_meta(page.routing, target),
        )
        for target, t in page.events.items()
        if only is None or target == only
    )


def deletes(keys: Sequence[Key], plan: FeedPlan) -> pa.Table:
    """Delete events for keys (canonical texts) that the source no longer has.

    Where each row says its own customer the event has none: it concerns the key, whoever's it was.
    """
    source = plan.source
    table: pa.Table = events.deletes(
        keys, columns=source.columns, key_size=len(source.key), customer=plan.customer
    )
    return table


def canonical_requests(keys: Sequence[Key], plan: FeedPlan) -> dict[Key, Key]:
    """The canonical texts of keys that somebody asked for, in the source's own texts or canonical; without
    those that no row can have."""
    names = [c.source_column for c in plan.source.key]
    fitting = [key for key in keys if len(key) == len(names)]
    columns = zip(*fitting, strict=True) if fitting else ((),) * len(names)
    rows = pa.table([pa.array(c, pa.string()) for c in columns], names=names)
    named = zip(fitting, canonical_keys(rows, plan), strict=True)
    return {key: whole for key, parts in named if (whole := complete(parts)) is not None}


def complete(parts: Sequence[str | None]) -> Key | None:
    """The key, None when a part of it is null or does not fit."""
    key = tuple(part for part in parts if part is not None)
    return key if len(key) == len(parts) else None


def canonical_keys(rows: pa.Table, plan: FeedPlan) -> list[tuple[str | None, ...]]:
    """The keys of source rows as canonical texts, None where a part is null or does not fit."""
    parts = [
        canonical_text(
            coerce(rows.column(c.source_column), c.type, time_zone=plan.read.time_zone).values
        ).to_pylist()
        for c in plan.source.key
    ]
    return list(zip(*parts, strict=True))


def share_a_key(some: Sequence[pa.Table], others: Sequence[pa.Table], plan: FeedPlan) -> bool:
    """A key is in both; by value, since a source may write one value in two ways. Keys that do not fit
    their type are all taken to be the same."""
    wanted = pa.concat_arrays([_joined_keys(rows, plan) for rows in others])
    return any(bool(pc.any(pc.is_in(_joined_keys(rows, plan), value_set=wanted)).as_py()) for rows in some)


def _joined_keys(rows: pa.Table, plan: FeedPlan) -> pa.Array[Any]:
    """One text a row, the same only for the same key: each part with its length before it, null as none."""
    texts = []
    for column in plan.source.key:
        values = coerce(rows.column(column.source_column), column.type, time_zone=plan.read.time_zone).values
        text = canonical_text(values)
        size = pc.binary_length(text).cast(pa.string())
        texts += [size, text]
    joined = pc.binary_join_element_wise(*texts, ":", null_handling="replace", null_replacement="")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
