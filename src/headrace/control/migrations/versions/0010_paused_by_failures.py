"""Feeds that are paused as their polls fail in a way that no repetition mends; since when one is paused."""

import sqlalchemy as sa
from alembic import op

from headrace.control import types

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("feed", sa.Column("paused_at", types.Timestamp(), nullable=True))
    op.add_column(
        "feed",
        sa.Column(
            "gave_up",
            sa.Boolean,
            nullable=False,
            server_default=sa.false(),
            comment="paused for its failures; older processes know that as drift",
        ),
    )
    op.add_column(
        "feed",
        sa.Column(
            "lasting_failures",
            sa.Integer,
            nullable=False,
            server_default=sa.text("0"),
            comment="of those in a row, the ones that no repetition mends",
        ),
    )
