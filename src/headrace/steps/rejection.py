"""Rows that a data source refused: what is remembered of them, and which a merge supersedes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headrace.domain.bisection import Refused
from headrace.domain.coercion import canonical_text
from headrace.domain.events import RejectCode, key_json, set_aside
from headrace.domain.shape import Column, SourceShape
from headrace.domain.vocabulary import CUSTOMER, DELETED, INVALID, DataSourceId
from headrace.ports import RefusedRow, RejectedRow, WaitingBatch


def rejected_rows(
    events: pa.Table, source: SourceShape, refused: Sequence[Refused]
) -> tuple[RejectedRow, ...]:
    """What is remembered of these rows of a batch: values as canonical texts by the source's columns, an
    invalid one as the source had it."""
    if not refused:
        return ()
    rows = _as_source_texts(events.take(pa.array([r.row for r in refused], pa.int64())), source)
    faults = {
        place: (RejectCode.KILLED if r.killed else RejectCode.REFUSED, r.reason)
        for place, r in enumerate(refused)
    }
    return tuple(
        RejectedRow(key=r.key, code=str(r.code), reason=r.reason, raw=r.raw)
        for r in set_aside(rows, source.key, faults)
    )


def _as_source_texts(events: pa.Table, source: SourceShape) -> pa.Table:
    invalid = [json.loads(text) if text else {} for text in events.column(INVALID).to_pylist()]
    texts: dict[str, Any] = {}
    for column in source.columns:
        if column.source_column not in texts:
            texts[column.source_column] = _with_invalid(events.column(column.name), column, invalid)
    texts[CUSTOMER] = events.column(CUSTOMER)
    if pc.any(events.column(DELETED)).as_py():
        texts[DELETED] = canonical_text(events.column(DELETED))
    return pa.table(texts)


def _with_invalid(
    values: pa.ChunkedArray[Any], column: Column, invalid: Sequence[Mapping[str, Any]]
) -> pa.Array[Any]:
    texts = canonical_text(values).to_pylist()
    had = [notes.get(column.name, {}).get("value") for notes in invalid]
    return pa.array([text if raw is None else raw for text, raw in zip(texts, had, strict=True)], pa.string())


def superseded(
    open_rows: Sequence[RefusedRow],
    merged: WaitingBatch,
    events: pa.Table,
    *,
    key: Sequence[Column],
    into: DataSourceId,
) -> tuple[int, ...]:
    """The open rejected rows of which a batch that is merged has later versions.

    A row is in one data source at a time, so wherever a later version is merged closes it; that it is
    deleted is told to all data sources, and closes only what this one refused.

    One log is merged in its order, but another data source may be behind: what it merges now is later only
    if it was journalled after the batch that was refused. A feed's batches are journalled one after the
    other, at times of the control database alone; of one instant none is taken for later, since a row that
    stays open can be replayed, and one that is closed wrongly is missed by nobody.
    """
    later = [r for r in open_rows if r.data_source_id == into or r.journalled_at < merged.journalled_at]
    found = _keys(events, key, [json.loads(row.key) for row in later]) if later else {}
    return tuple(
        row.id for row in later if row.key in found and (found[row.key] or row.data_source_id == into)
    )


def _keys(events: pa.Table, key: Sequence[Column], wanted: Sequence[Sequence[str]]) -> dict[str, bool]:
    """Which of the wanted keys are there, and whether with a row that is not deleted."""
    texts = pa.table(
        [*(canonical_text(events.column(column.name)) for column in key), events.column(DELETED)],
        names=[*(f"part{place}" for place in range(len(key))), DELETED],
    )
    for place in range(len(key)):
        # Column by column, so that Python sees only the few rows that may be meant.
        parts = pa.array([parts[place] for parts in wanted], pa.string())
        texts = texts.filter(pc.is_in(texts.column(place), value_set=parts))
    found: dict[str, bool] = {}
    for row in texts.to_pylist():
        *values, deleted = row.values()
        name = key_json(values)
        found[name] = found.get(name, False) or not deleted
    return found
