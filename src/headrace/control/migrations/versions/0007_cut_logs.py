"""Logs that are cut: nothing is journalled for a data source that takes no batches."""

from typing import Literal

import sqlalchemy as sa
from alembic import op

from headrace.control import types

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # SQLite's own ADD COLUMN would leave a definition that reads otherwise than that of a new table.
    anew: Literal["always", "never"] = "always" if op.get_context().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("feed_log", recreate=anew) as table:
        table.add_column(
            sa.Column(
                "cut_at",
                types.Timestamp(),
                nullable=True,
                comment="since when nothing is journalled for the data source",
            )
        )
