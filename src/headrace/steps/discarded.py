"""Rows that a data source refused and a person discarded: which of them their source still gives so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from headrace.domain.bisection import Refused
from headrace.domain.vocabulary import DELETED
from headrace.ports import ExactKeys, FeedPlan, RejectedRow, Routes, SourceReader
from headrace.steps.page import cut
from headrace.steps.rejection import rejected_rows

_KEYS_A_STATEMENT = 2_000
_Row = dict[str, Any]


def still_given(
    rows: Sequence[RejectedRow], plan: FeedPlan, reader: SourceReader, routes: Routes
) -> list[RejectedRow]:
    """Those whose version is that of the source now, as far as it is remembered: a later one is a new row,
    which nobody discarded. Of a removal, those that the source still lacks."""
    found: list[RejectedRow] = []
    for start in range(0, len(rows), _KEYS_A_STATEMENT):
        some = rows[start : start + _KEYS_A_STATEMENT]
        now = _versions(sorted({tuple(json.loads(row.key)) for row in some}), plan, reader, routes)
        found += [row for row in some if _is_same(_version(row), now.get(row.key))]
    return found


def _versions(
    keys: Sequence[tuple[str, ...]], plan: FeedPlan, reader: SourceReader, routes: Routes
) -> dict[str, _Row]:
    """The rows with these keys as they would be remembered, by key."""
    now: dict[str, _Row] = {}
    with reader.read(plan.read, ExactKeys(tuple(keys))) as pages:
        for page in pages:
            for events in cut(page.rows, plan, routes).events.values():
                every = [Refused(row=row, reason="", killed=False) for row in range(events.num_rows)]
                now |= {row.key: _version(row) for row in rejected_rows(events, plan.source, every)}
    return now


def _version(row: RejectedRow) -> _Row:
    version: _Row = json.loads(row.raw)
    # It is remembered of every row of a batch as soon as one is deleted.
    return {name: value for name, value in version.items() if (name, value) != (DELETED, "false")}


def _is_same(discarded: _Row, now: _Row | None) -> bool:
    if DELETED in discarded:
        return now is None or DELETED in now
    return discarded == now
