"""Where customers that were switched elsewhere have left their records, and who waits until those of another
are dropped."""

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # SQLite's own ADD COLUMN would leave a definition that reads otherwise than that of a new table.
    anew: Literal["always", "never"] = "always" if op.get_context().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("residence", recreate=anew) as table:
        table.add_column(sa.Column("awaits_drop", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "left_behind",
        sa.Column("data_source_id", sa.Text(), nullable=False),
        sa.Column("provided_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"],
            ["customer.id"],
            name=op.f("left_behind_customer_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["data_source_id"],
            ["data_source.id"],
            name=op.f("left_behind_data_source_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("data_source_id", "provided_id", name=op.f("left_behind_pkey")),
        comment="Where a customer that was switched elsewhere has left its records: nobody else of that "
        "provided_id may come there and find them.",
    )
    op.create_index("left_behind_customer_id_idx", "left_behind", ["customer_id"], unique=False)
