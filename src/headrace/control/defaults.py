"""Default data sources of (visibility group, schema)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from headrace.control.applied_ids import schemas_of
from headrace.control.data_source_view import find_data_source, holders
from headrace.control.engine import insert_or
from headrace.control.tables import data_source, default_data_source
from headrace.domain.refusal import Refusal
from headrace.domain.routing import State
from headrace.errors import RefusedError


def write_default(connection: sa.Connection, group: str, schema: str, id_: str | None) -> None:
    """The default of (group, schema) is this data source from the commit on; None: there is none.

    Raises:
        RefusedError: `owned_by_config`, `not_found`, `data_source_unfit`.
    """
    if schema not in schemas_of(connection):
        raise RefusedError(Refusal.NOT_FOUND, f"there is no schema {schema}")
    own = sa.and_(default_data_source.c.visibility_group == group, default_data_source.c.schema == schema)
    before = sa.select(data_source).join(default_data_source).where(own)
    now = connection.execute(before).one_or_none()
    if now is not None and now.origin == "config" and group in (now.body.get("default_for") or ()):
        raise RefusedError(
            Refusal.OWNED_BY_CONFIG,
            f'data_sources/{now.id}.json says that it is the default: take {group} from its "default_for", '
            "and apply",
        )
    if id_ is None:
        connection.execute(sa.delete(default_data_source).where(own))
        return
    _check_default(find_data_source(connection, id_, within=group), schema)
    insert = insert_or(connection, default_data_source).values(
        visibility_group=group, schema=schema, data_source_id=id_
    )
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[default_data_source.c.visibility_group, default_data_source.c.schema],
            set_={"data_source_id": insert.excluded.data_source_id},
        )
    )


def _check_default(row: sa.Row[Any], schema: str) -> None:
    fault = ""
    if row.schema != schema:
        fault = f"is of schema {row.schema}, not {schema}"
    elif row.isolation == "dedicated":
        fault = "is dedicated, and serves one customer alone"
    elif row.state != State.ACTIVE.value:
        fault = f"is {row.state}"
    if fault:
        raise RefusedError(Refusal.DATA_SOURCE_UNFIT, f"data source {row.id} {fault}: name another one")


def refuse_lost_defaults(connection: sa.Connection, id_: str, groups: tuple[str, ...]) -> None:
    lost = sorted(set(holders(connection, id_).default_for) - set(groups))
    if lost:
        raise RefusedError(
            Refusal.DATA_SOURCE_IN_USE,
            f"it is the default of {', '.join(lost)}: give that another default first",
            default_for=lost,
        )
