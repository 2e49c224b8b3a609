"""Which models' tables lack a part in which data source: what `status` and the metric tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Text

from headrace.control.engine import insert_or, reading, writing
from headrace.control.metadata import metadata
from headrace.control.types import Json, Timestamp, now
from headrace.domain.vocabulary import DataSourceId, ModelId

data_source_drift = sa.Table(
    "data_source_drift",
    metadata,
    Column("data_source_id", ForeignKey("data_source.id", ondelete="CASCADE"), primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("lacking", Json, nullable=False, comment="each part that is missing or of another type, in words"),
    Column("found_at", Timestamp, nullable=False),
    comment="Told, and asked by whoever reads records; whoever merges has looked itself.",
)


class SqlDrift:
    """Implements `ports.Drift`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def drifted(self) -> Mapping[tuple[DataSourceId, ModelId], tuple[str, ...]]:
        query = sa.select(data_source_drift).order_by(
            data_source_drift.c.data_source_id, data_source_drift.c.model_id
        )
        with reading(self._engine) as connection:
            return {
                (DataSourceId(row.data_source_id), ModelId(row.model_id)): tuple(row.lacking)
                for row in connection.execute(query)
            }

    def note(self, data_source_id: DataSourceId, model_id: ModelId, lacking: Sequence[str]) -> None:
        with writing(self._engine) as connection:
            insert = insert_or(connection, data_source_drift).values(
                data_source_id=data_source_id, model_id=model_id, lacking=list(lacking), found_at=now()
            )
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=[data_source_drift.c.data_source_id, data_source_drift.c.model_id],
                    set_={"lacking": insert.excluded.lacking},
                )
            )

    def forget(self, data_source_id: DataSourceId, model_id: ModelId | None = None) -> None:
        of_it = data_source_drift.c.data_source_id == data_source_id
        if model_id is not None:
            of_it = sa.and_(of_it, data_source_drift.c.model_id == model_id)
        with writing(self._engine) as connection:
            connection.execute(sa.delete(data_source_drift).where(of_it))
