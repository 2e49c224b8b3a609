"""Who is above whom: within one visibility group, at most three levels, never in a circle."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from headrace.control.customer_tree import with_descendants
from headrace.control.customer_view import find_customer
from headrace.control.tables import customer
from headrace.domain.refusal import Refusal
from headrace.domain.routing import MAX_ANCESTORS
from headrace.errors import RefusedError


def find_parent(connection: sa.Connection, group: str, name: str) -> sa.Row[Any]:
    """The row of the customer that is to be a parent. Raises RefusedError: `parent_unfit`: there is none."""
    try:
        return find_customer(connection, group, name)
    except RefusedError:
        raise RefusedError(Refusal.PARENT_UNFIT, "there is no such customer to be the parent") from None


def put_below(connection: sa.Connection, group: str, customer_id: str, parent: str | None) -> None:
    """The customer is below this one; nobody has more than `MAX_ANCESTORS` above.

    Raises:
        RefusedError: `parent_unfit`.
    """
    parent_id = None if parent is None else str(find_parent(connection, group, parent).id)
    if parent_id is not None:
        if parent_id in with_descendants(connection, [customer_id]):
            raise RefusedError(Refusal.PARENT_UNFIT, "the parent is the customer itself, or below it")
        if len(_above(connection, parent_id)) + 1 + _height(connection, customer_id) > MAX_ANCESTORS:
            raise RefusedError(
                Refusal.PARENT_UNFIT,
                f"a customer would have more than {MAX_ANCESTORS} above it: name a parent higher up",
            )
    connection.execute(sa.update(customer).where(customer.c.id == customer_id).values(parent_id=parent_id))


def _above(connection: sa.Connection, customer_id: str) -> list[str]:
    found: list[str] = []
    at: str | None = customer_id
    while len(found) <= MAX_ANCESTORS + 1:
        at = connection.execute(sa.select(customer.c.parent_id).where(customer.c.id == at)).scalar()
        if at is None:
            break
        found.append(at)
    return found


def _height(connection: sa.Connection, customer_id: str) -> int:
    """Levels below the customer."""
    levels, level = 0, [customer_id]
    while levels <= MAX_ANCESTORS:
        below = sa.select(customer.c.id).where(customer.c.parent_id.in_(level))
        level = list(connection.execute(below).scalars())
        if not level:
            break
        levels += 1
    return levels
