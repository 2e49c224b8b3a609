"""Customers that `doctor --prove-isolation` made, and that an interrupted one left."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from headrace.control.engine import reading
from headrace.control.tables import customer
from headrace.domain.probe import CUSTOMER_PREFIX


@dataclass(frozen=True, slots=True)
class ProbeCustomer:
    visibility_group: str
    id: str
    provided_id: str


def probe_customers(engine: sa.Engine) -> list[ProbeCustomer]:
    """All of them, children before their parents."""
    query = (
        sa.select(customer.c.visibility_group, customer.c.id, customer.c.provided_id)
        .where(customer.c.provided_id.startswith(CUSTOMER_PREFIX, autoescape=True))
        .order_by(customer.c.parent_id.is_(None), customer.c.provided_id)
    )
    with reading(engine) as connection:
        return [ProbeCustomer(*row) for row in connection.execute(query)]
