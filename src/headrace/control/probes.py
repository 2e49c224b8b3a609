"""Customers that `doctor --prove-isolation` made, and that an interrupted one left."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from headrace.control.engine import reading, writing
from headrace.control.move_tables import residence
from headrace.control.newcomers import note_newcomers
from headrace.control.tables import customer
from headrace.domain.probe import CUSTOMER_PREFIX
from headrace.ports import Newcomer


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


def settle_probe(engine: sa.Engine, newcomer: Newcomer) -> None:
    """The made-up customer resides where its records are, as the journal would have it."""
    with writing(engine) as connection:
        note_newcomers(connection, [newcomer])


def unsettle_probes(engine: sa.Engine) -> None:
    """None of them has records any more: no feed is asked to drop them when they are deleted."""
    made_up = sa.select(customer.c.id).where(
        customer.c.provided_id.startswith(CUSTOMER_PREFIX, autoescape=True)
    )
    with writing(engine) as connection:
        connection.execute(sa.delete(residence).where(residence.c.customer_id.in_(made_up)))
