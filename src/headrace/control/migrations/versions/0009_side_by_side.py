"""Old processes beside new ones: they are told since which migration they may go on.

Migrations only add. One beside which older processes must not run sets `serves_from` to its own number.
"""

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    anew: Literal["always", "never"] = "always" if op.get_context().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("workspace", recreate=anew) as table:
        table.add_column(
            sa.Column(
                "serves_from",
                sa.Text,
                nullable=False,
                server_default="0009",
                comment="the migration since which processes may work beside those of the newest one",
            )
        )
