"""Data sources as they are told: never with their URL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from headrace.control.move_tables import MoveState, move, residence
from headrace.control.tables import binding, customer, data_source, data_source_group, default_data_source
from headrace.domain.refusal import Refusal
from headrace.domain.routing import State
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSourceView:
    """A data source.

    Attributes:
        visibility_groups, default_for: of them only those that the asker may see.
        origin: `config` or `api`: who made it.
    """

    id: DataSourceId
    provided_id: str
    nickname: str
    schema: str
    visibility_groups: tuple[str, ...]
    default_for: tuple[str, ...]
    type: str
    namespace: str | None
    isolation: str
    state: State
    origin: str
    config_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """What a data source is needed for; of each of them the first ones, as a person would name them.

    Attributes:
        bound: customers that are bound to it.
        residing: customers with records in it.
        default_for: visibility groups whose default it is.
        moves: those under way, from or to it.
    """

    bound: tuple[str, ...]
    residing: tuple[str, ...]
    default_for: tuple[str, ...]
    moves: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.bound or self.residing or self.default_for or self.moves)

    def __str__(self) -> str:
        held = {name.replace("_", " "): names for name, names in self.as_members().items() if names}
        return "; ".join(f"{word}: {', '.join(names)}" for word, names in held.items())

    def as_members(self) -> dict[str, list[str]]:
        return {name: list(getattr(self, name)) for name in ("bound", "residing", "default_for", "moves")}


def in_group(within: str | None) -> sa.ColumnElement[bool]:
    """The condition of data sources that may be seen."""
    if within is None:
        return sa.true()
    of_group = sa.select(data_source_group.c.data_source_id).where(
        data_source_group.c.visibility_group == within
    )
    return data_source.c.id.in_(of_group)


def find_data_source(connection: sa.Connection, id_: str, *, within: str | None) -> sa.Row[Any]:
    """The data source's row, locked until the commit.

    Raises:
        RefusedError: `not_found`: unknown, or of other visibility groups.
    """
    query = sa.select(data_source).where(data_source.c.id == id_, in_group(within))
    row = connection.execute(query.with_for_update(key_share=True)).one_or_none()
    if row is None:
        raise RefusedError(Refusal.NOT_FOUND, "there is no such data source")
    return row


def data_source_views(
    connection: sa.Connection, rows: Sequence[sa.Row[Any]], *, within: str | None
) -> list[DataSourceView]:
    """These data sources, in their order."""
    groups = _grouped(connection, data_source_group, within)
    defaults = _grouped(connection, default_data_source, within)
    return [
        DataSourceView(
            id=DataSourceId(row.id),
            provided_id=row.provided_id,
            nickname=row.nickname,
            schema=row.schema,
            visibility_groups=tuple(groups.get(row.id, ())),
            default_for=tuple(defaults.get(row.id, ())),
            type=row.body["type"],
            namespace=None if row.body["type"] == "sqlite" else row.body.get("namespace", "headrace"),
            isolation=row.isolation,
            state=State(row.state),
            origin=row.origin,
            config_version=row.config_version,
        )
        for row in rows
    ]


def _grouped(connection: sa.Connection, table: sa.Table, within: str | None) -> dict[str, list[str]]:
    rows = sa.select(table.c.data_source_id, table.c.visibility_group).order_by(table.c.visibility_group)
    if within is not None:
        rows = rows.where(table.c.visibility_group == within)
    found: dict[str, list[str]] = {}
    for id_, group in connection.execute(rows):
        found.setdefault(id_, []).append(group)
    return found


def holders(connection: sa.Connection, id_: str) -> Holders:
    """What the data source is needed for now."""
    binds = sa.or_(binding.c.data_source_id == id_, binding.c.moving_to == id_)
    lives = sa.or_(move.c.from_id == id_, move.c.to_id == id_)
    under_way = sa.and_(lives, move.c.state == MoveState.READING.value)
    defaults = sa.select(default_data_source.c.visibility_group).where(
        default_data_source.c.data_source_id == id_
    )
    return Holders(
        bound=_customers(connection, sa.select(binding.c.customer_id).where(binds)),
        residing=_customers(
            connection, sa.select(residence.c.customer_id).where(residence.c.data_source_id == id_)
        ),
        default_for=tuple(sorted(connection.execute(defaults).scalars())),
        moves=tuple(connection.execute(sa.select(move.c.id).where(under_way).limit(_SHOWN)).scalars()),
    )


def _customers(connection: sa.Connection, ids: sa.Select[Any]) -> tuple[str, ...]:
    names = sa.select(customer.c.provided_id).where(customer.c.id.in_(ids))
    return tuple(connection.execute(names.order_by(customer.c.provided_id).limit(_SHOWN)).scalars())


def groups_of_data_source(connection: sa.Connection, id_: str) -> frozenset[str]:
    of_it = sa.select(data_source_group.c.visibility_group).where(data_source_group.c.data_source_id == id_)
    return frozenset(connection.execute(of_it).scalars())


def write_groups(connection: sa.Connection, id_: str, groups: Collection[str]) -> None:
    """The data source is of these visibility groups."""
    of_it = data_source_group.c.data_source_id == id_
    connection.execute(sa.delete(data_source_group).where(of_it))
    rows = [{"data_source_id": id_, "visibility_group": group} for group in sorted(groups)]
    connection.execute(sa.insert(data_source_group), rows)
