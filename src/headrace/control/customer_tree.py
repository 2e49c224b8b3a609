"""Customers and who is below them."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from headrace.control.slices import slices
from headrace.control.tables import customer


def with_descendants(connection: sa.Connection, customer_ids: Collection[str]) -> set[str]:
    """Control's ids of these customers and of all below them."""
    found, level = set(customer_ids), set(customer_ids)
    while level:
        below: set[str] = set()
        for some in slices(sorted(level)):
            children = sa.select(customer.c.id).where(customer.c.parent_id.in_(some))
            below |= set(connection.execute(children).scalars())
        level = below - found
        found |= level
    return found
