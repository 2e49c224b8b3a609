"""What a batch of keys holds and speaks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headrace.domain import payload
from headrace.domain.shape import SourceShape
from headrace.domain.vocabulary import ARROW_TYPES, CUSTOMER, DELETED, BatchKind, DataSourceId
from headrace.ports import KeyChunk, NewBatch


def key_chunk(meta: Mapping[str, Any]) -> KeyChunk:
    """The chunk that a batch of keys speaks for, from its `meta` (`chunk_meta` made it)."""
    bounds = {name: tuple(meta[name]) if meta[name] is not None else None for name in ("after", "upto")}
    known = {field.name: meta[field.name] for field in fields(KeyChunk) if field.name in meta}
    return KeyChunk(**{**known, **bounds})


def chunk_meta(chunk: KeyChunk) -> dict[str, Any]:
    """The chunk as JSON."""
    return asdict(chunk)


def eased(chunk: KeyChunk) -> KeyChunk | None:
    """The chunk with less to do, for a store that refuses it; None when nothing is left to leave out."""
    if (chunk.closes or chunk.confirmed) and not chunk.spares:
        return replace(chunk, spares=True)
    return replace(chunk, repairs=False) if chunk.repairs else None


def keys_of(source: SourceShape, events: pa.Table | None) -> pa.Table:
    """Key columns and customer of the rows that are there (not soft-deleted)."""
    key = source.key
    if events is None:
        schema = pa.schema([(c.name, ARROW_TYPES[c.type]) for c in key] + [(CUSTOMER, pa.string())])
        return schema.empty_table()
    deleted = events.column(DELETED)
    there = events.filter(pc.invert(deleted)) if pc.any(deleted).as_py() else events
    return there.select([*(c.name for c in key), CUSTOMER])


def keys_batch(
    target: DataSourceId, keys: pa.Table, chunk: KeyChunk, silence: Mapping[str, Any] | None = None
) -> NewBatch:
    """
    Args:
        silence: what `meta` says besides (`page.silence_meta`).
    """
    return NewBatch(
        data_source_id=target,
        kind=BatchKind.KEYS,
        rows=keys.num_rows,
        payload=payload.encode(keys),
        meta={**chunk_meta(chunk), **(silence or {})},
    )
