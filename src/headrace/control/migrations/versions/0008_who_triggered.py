"""Who asked for a source to be read, and how often within a minute."""

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # SQLite's own ADD COLUMN would leave a definition that reads otherwise than that of a new table.
    anew: Literal["always", "never"] = "always" if op.get_context().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("trigger_log", recreate=anew) as table:
        table.add_column(sa.Column("asked_by", sa.Text, nullable=False, server_default=""))
        table.add_column(sa.Column("requests", sa.BigInteger, nullable=False, server_default=sa.text("1")))
