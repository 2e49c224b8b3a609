"""What the outbox of a data source says of one changed record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from headrace.domain.vocabulary import ModelId

EXCHANGE: Final = "headrace.records"
"""The sink that is the broker's exchange; it has its name."""


class ChangeKind(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEvent:
    """One record, changed by one transaction.

    Attributes:
        seq: its place among the events of its model in its data source. Numbers may be missing.
        merge: names the transaction.
        key: the record's key, JSON object.
        changed: the properties that are not as before (`updated` only).
        record: the record after the change, JSON object; None when it is gone.
        at: when, `YYYY-MM-DDTHH:MM:SS.ffffffZ`, by the data source's clock.
    """

    seq: int
    merge: str
    model: ModelId
    customer: str
    key: str
    kind: ChangeKind
    changed: tuple[str, ...]
    record: str | None
    at: str

    @property
    def happened_at(self) -> float:
        """Unix time."""
        return datetime.fromisoformat(self.at).timestamp()
