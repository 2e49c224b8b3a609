"""Whose records are still to be dropped from a data source: nobody of their name may be shown them."""

from __future__ import annotations

import sqlalchemy as sa

from headrace.control.tables import batch
from headrace.domain.vocabulary import BatchKind

_PENDING_DROPS = sa.select(batch.c.meta).where(
    batch.c.data_source_id == sa.bindparam("data_source"),
    batch.c.kind == BatchKind.DROP.value,
    batch.c.state == "pending",
)


def being_dropped(connection: sa.Connection, data_source_id: str) -> set[str]:
    """Whose records (`provided_id`) are journalled to be dropped there, and may be there yet."""
    metas = connection.execute(_PENDING_DROPS, {"data_source": data_source_id}).scalars()
    return {str(name) for meta in metas for name in meta["customers"]}
