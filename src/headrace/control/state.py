"""A feed's state as columns of `feed`, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from headrace.domain.position import Position
from headrace.domain.vocabulary import DataSourceId, FeedClass
from headrace.ports import FeedState, Reconciliation


def state_of(row: sa.Row[Any]) -> FeedState:
    return FeedState(
        saved=position(row.saved_cursor, row.saved_key),
        lead=position(row.lead_cursor, row.lead_key),
        fence_state=row.fence_state,
        first_stream_done=row.first_stream_done,
        digests=row.digests,
        reconciliation=reconciliation(row.reconciliation),
    )


def feed_class_of(row: sa.Row[Any]) -> FeedClass | None:
    """What the feed promised at its last poll."""
    value = row._mapping["class"]  # noqa: SLF001 `class` is no attribute name
    return None if value is None else FeedClass(value)


def columns_of(state: FeedState) -> dict[str, Any]:
    """Every column of the state but `reconciliation_epoch`."""
    return {
        "saved_cursor": state.saved and state.saved.cursor,
        "saved_key": key_list(state.saved),
        "lead_cursor": state.lead and state.lead.cursor,
        "lead_key": key_list(state.lead),
        "fence_state": state.fence_state,
        "first_stream_done": state.first_stream_done,
        "digests": dict(state.digests),
        "reconciliation": _reconciliation_json(state.reconciliation),
    }


def position(cursor: str | None, key: Sequence[str] | None) -> Position | None:
    return None if cursor is None else Position(cursor, None if key is None else tuple(key))


def key_list(at: Position | None) -> list[str] | None:
    return None if at is None or at.key is None else list(at.key)


def reconciliation(body: dict[str, Any] | None) -> Reconciliation | None:
    if body is None:
        return None
    return Reconciliation(
        id=body["id"],
        full=body["full"],
        into=None if body["into"] is None else DataSourceId(body["into"]),
        after=None if body["after"] is None else tuple(body["after"]),
        incomplete=body.get("incomplete", False),
    )


def _reconciliation_json(of: Reconciliation | None) -> dict[str, Any] | None:
    if of is None:
        return None
    after = None if of.after is None else list(of.after)
    return {"id": of.id, "full": of.full, "into": of.into, "after": after, "incomplete": of.incomplete}
