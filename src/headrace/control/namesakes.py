"""Customers of two visibility groups who have the same `provided_id`: no data source may serve both."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from headrace.control.customer_tree import with_descendants
from headrace.control.move_tables import left_behind, residence
from headrace.control.slices import slices
from headrace.control.tables import binding, customer


def namesakes(connection: sa.Connection, data_source_id: str, names: Collection[str]) -> dict[str, str]:
    """Who resides in the data source with one of these names, moves there, or has left records there:
    control's id by name."""
    found = {name: id_ for name, id_ in _moving(connection, data_source_id).items() if name in names}
    for some in slices(sorted(names)):
        for table in (left_behind, residence):
            there = sa.select(table.c.provided_id, table.c.customer_id).where(
                table.c.data_source_id == data_source_id, table.c.provided_id.in_(some)
            )
            found |= dict(connection.execute(there).all())
    return found


def _moving(connection: sa.Connection, data_source_id: str) -> dict[str, str]:
    """Who moves there, with whoever may follow its binding."""
    bound = sa.select(binding.c.customer_id).where(binding.c.moving_to == data_source_id)
    heads = connection.execute(bound).scalars().all()
    found: dict[str, str] = {}
    for some in slices(sorted(with_descendants(connection, heads))):
        family = sa.select(customer.c.provided_id, customer.c.id).where(customer.c.id.in_(some))
        found |= dict(connection.execute(family).all())
    return found
