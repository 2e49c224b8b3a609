"""A customer's own binding, and where it and those who follow it reside."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from headrace.control.being_dropped import being_dropped
from headrace.control.customer_tree import with_descendants
from headrace.control.move_tables import residence
from headrace.control.slices import slices
from headrace.control.tables import (
    binding,
)


def own_binding(customer_id: str, schema: str) -> sa.ColumnElement[bool]:
    return sa.and_(binding.c.customer_id == customer_id, binding.c.schema == schema)


def reside(connection: sa.Connection, customer_id: str, schema: str, who: Sequence[str], to: str) -> None:
    """Those of the customer's family who follow its binding, and have records, reside in `to`."""
    ids = sorted(with_descendants(connection, [customer_id]))
    awaits = residence.c.provided_id.in_(sorted(being_dropped(connection, to)))
    for some in slices(ids):
        for names in slices(who):
            change = sa.update(residence).where(
                residence.c.customer_id.in_(some),
                residence.c.schema == schema,
                residence.c.provided_id.in_(names),
            )
            connection.execute(change.values(data_source_id=to, awaits_drop=awaits))
