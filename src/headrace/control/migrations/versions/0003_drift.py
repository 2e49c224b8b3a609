"""Which models' tables lack a part in which data source."""

import sqlalchemy as sa
from alembic import op

from headrace.control import types

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "data_source_drift",
        sa.Column("data_source_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column(
            "lacking",
            types.Json,
            nullable=False,
            comment="each part that is missing or of another type, in words",
        ),
        sa.Column("found_at", types.Timestamp(), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_source_id"],
            ["data_source.id"],
            name=op.f("data_source_drift_data_source_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("data_source_id", "model_id", name=op.f("data_source_drift_pkey")),
        comment="Told, and asked by whoever reads records; whoever merges has looked itself.",
    )
