"""Customers of two visibility groups who have the same `provided_id`: no data source may serve both."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from headrace.control.move_tables import residence
from headrace.control.slices import slices
from headrace.control.tables import binding, customer


def namesakes(connection: sa.Connection, data_source_id: str, names: Collection[str]) -> dict[str, str]:
    """Who resides in the data source, or moves there, with one of these names: control's id by name."""
    found: dict[str, str] = {}
    for some in slices(sorted(names)):
        residing = sa.select(residence.c.provided_id, residence.c.customer_id).where(
            residence.c.data_source_id == data_source_id, residence.c.provided_id.in_(some)
        )
        moving = (
            sa.select(customer.c.provided_id, customer.c.id)
            .join(binding, binding.c.customer_id == customer.c.id)
            .where(binding.c.moving_to == data_source_id, customer.c.provided_id.in_(some))
        )
        found |= dict(connection.execute(residing.union(moving)).all())
    return found
