"""Whether a data source may have a customer who moves to it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from headrace.control.move_tables import residence
from headrace.control.namesakes import namesakes
from headrace.control.slices import slices
from headrace.control.tables import binding, customer, data_source, data_source_group
from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError


def check_target(
    connection: sa.Connection, to: DataSourceId, *, schema: str, group: str, family: Collection[str]
) -> None:
    """Raises RefusedError: it may not have these customers. It is locked until the commit: nobody else gets
    it for its own meanwhile.

    Args:
        family: control's ids of the customer and of all below it.
    """
    # As `assigning` locks it.
    named = sa.select(data_source).where(data_source.c.id == to).with_for_update(key_share=True)
    found = connection.execute(named).one_or_none()
    served = sa.select(data_source_group.c.visibility_group).where(data_source_group.c.data_source_id == to)
    if found is None or group not in set(connection.execute(served).scalars()):
        raise RefusedError(Refusal.NOT_FOUND, "there is no such data source in the visibility group")
    if found.schema != schema:
        raise RefusedError(
            Refusal.DATA_SOURCE_UNFIT, f"data source {to} is of schema {found.schema}, not {schema}"
        )
    if found.state != "active":
        raise RefusedError(
            Refusal.DATA_SOURCE_UNAVAILABLE, f"data source {to} is {found.state}: it takes no more customers"
        )
    if found.isolation == "dedicated" and _holders(connection, to) - set(family):
        raise RefusedError(
            Refusal.DATA_SOURCE_DEDICATED, f"data source {to} is dedicated, and serves another customer"
        )
    refuse_namesakes(connection, to, family)


def _holders(connection: sa.Connection, to: str) -> set[str]:
    """Control's ids of who is bound or moves there, or has records there."""
    bound = sa.select(binding.c.customer_id).where(
        sa.or_(binding.c.data_source_id == to, binding.c.moving_to == to)
    )
    residing = sa.select(residence.c.customer_id).where(residence.c.data_source_id == to)
    return set(connection.execute(bound.union(residing)).scalars())


def refuse_namesakes(connection: sa.Connection, to: str, family: Collection[str]) -> None:
    """Raises RefusedError: records are told apart by `provided_id`, which is unique in a group alone.

    Args:
        family: control's ids of the customer and of all below it.
    """
    names: list[Any] = []
    for some in slices(sorted(family)):
        own = sa.select(customer.c.provided_id).where(customer.c.id.in_(some))
        names += connection.execute(own).scalars()
    if found := set(namesakes(connection, to, names).values()) - set(family):
        raise RefusedError(
            Refusal.DATA_SOURCE_CONFLICT,
            f"data source {to} serves {len(found)} other customer(s) of the same provided_id, of another "
            "visibility group: their records could not be told apart",
        )
