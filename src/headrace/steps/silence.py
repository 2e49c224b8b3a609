"""Customers of whom a batch makes no events.

Until a customer who is being moved lives in the new data source, the events of its records come from the old
one, which has every row too; and that its records go from there when it has moved is no change of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.domain.vocabulary import BatchKind, DataSourceId
from headrace.ports import Routing, WaitingBatch

_SILENT: Final = "silent"


def silence_meta(routing: Routing, into: DataSourceId) -> Mapping[str, Any]:
    """What the `meta` of a batch for a data source says of the customers who are being moved there."""
    silent = sorted(customer for customer, target in routing.moving.items() if target == into)
    return {_SILENT: silent} if silent else {}


def silent_in(batch: WaitingBatch) -> frozenset[str]:
    """The customers of whom the batch makes no events."""
    meta = batch.meta
    return frozenset(meta["customers"] if batch.kind is BatchKind.DROP else meta.get(_SILENT, ()))
