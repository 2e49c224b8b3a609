"""Whether a data source has anything of other visibility groups than the asker's."""

from __future__ import annotations

import sqlalchemy as sa

from headrace.control.engine import reading
from headrace.control.move_tables import left_behind, residence
from headrace.control.tables import binding, customer, data_source_group


def serves_other_groups(engine: sa.Engine, data_source_id: str, visibility_group: str) -> bool:
    """See `has_other_groups`."""
    with reading(engine) as connection:
        return has_other_groups(connection, data_source_id, visibility_group)


def has_other_groups(connection: sa.Connection, data_source_id: str, visibility_group: str) -> bool:
    """Another group has the data source, or had it: customers of it are bound to it or have records there."""
    shared = sa.select(data_source_group.c.visibility_group).where(
        data_source_group.c.data_source_id == data_source_id,
        data_source_group.c.visibility_group != visibility_group,
    )
    others = sa.select(customer.c.id).where(customer.c.visibility_group != visibility_group)
    stored = [
        others.join(table, table.c.customer_id == customer.c.id).where(column == data_source_id)
        for table, column in (
            (residence, residence.c.data_source_id),
            (left_behind, left_behind.c.data_source_id),
            (binding, binding.c.data_source_id),
            (binding, binding.c.moving_to),
        )
    ]
    return any(connection.execute(one.limit(1)).first() is not None for one in (shared, *stored))
