"""Which schemas and visibility groups are applied: they exist in the definitions alone."""

from __future__ import annotations

import sqlalchemy as sa

from headrace.control.tables import definition

_IDS = (
    sa.select(definition.c.id).where(definition.c.kind == sa.bindparam("of_kind")).order_by(definition.c.id)
)


def schemas_of(connection: sa.Connection) -> tuple[str, ...]:
    """The ids of the applied schemas, in their order."""
    return tuple(connection.execute(_IDS, {"of_kind": "schemas"}).scalars())


def groups_of(connection: sa.Connection) -> tuple[str, ...]:
    """The ids of the applied visibility groups, in their order."""
    return tuple(connection.execute(_IDS, {"of_kind": "visibility_groups"}).scalars())
