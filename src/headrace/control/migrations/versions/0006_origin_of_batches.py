"""When what a batch holds changed, and which trace journalled it: for metrics and traces alone.

Null in batches of processes that do not know of it.
"""

import sqlalchemy as sa
from alembic import op

from headrace.control.types import Timestamp

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    changed_at = sa.Column(
        "changed_at", Timestamp, comment="the oldest change in it, by the clock that sets the cursor"
    )
    traceparent = sa.Column("traceparent", sa.Text, comment="of what journalled it (W3 Trace Context)")
    op.add_column("batch", changed_at)
    op.add_column("batch", traceparent)
