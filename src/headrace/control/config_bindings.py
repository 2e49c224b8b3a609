"""The bindings that customers' files say, brought to the tables; residents elsewhere move if so told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from headrace.control.engine import insert_or
from headrace.control.move_begin import begin_move, has_residents, switch_only
from headrace.control.tables import binding
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import ConfigurationError, RefusedError
from headrace.ports import Residents

_ACTOR = "apply"


def write_bindings(
    connection: sa.Connection,
    wanted: Mapping[str, Mapping[str, str]],
    *,
    residents: Residents,
    new_id: Callable[[], str],
) -> None:
    """Each of these customers is bound as its file says, or on its way there.

    Args:
        wanted: the data source by schema, by control's id of the customer. Feeds and routing are locked.
        residents: what becomes of those who have records elsewhere. Refused, they are bound all the same, and
            whoever checks for strays finds them.

    Raises:
        ConfigurationError: somebody who moves is bound otherwise meanwhile, or may not move there.
    """
    for customer_id, by_schema in wanted.items():
        own = {
            row.schema: row
            for row in connection.execute(sa.select(binding).where(binding.c.customer_id == customer_id))
        }
        for schema, row in own.items():
            if schema not in by_schema and row.origin == "explicit":
                _refuse_moving(row, None)
                connection.execute(sa.delete(binding).where(_is(row)))
        for schema, target in by_schema.items():
            bound = own.get(schema)
            if bound is not None and bound.moving_to == target:
                continue
            _refuse_moving(bound, target)
            stays = bound is not None and bound.data_source_id == target
            told = not stays and residents is not Residents.REFUSE
            if told and has_residents(connection, customer_id, schema):
                _move(connection, customer_id, schema, target, residents=residents, new_id=new_id)
            else:
                _bind(connection, customer_id, schema, target)


def _move(
    connection: sa.Connection,
    customer_id: str,
    schema: str,
    target: str,
    *,
    residents: Residents,
    new_id: Callable[[], str],
) -> None:
    begin = begin_move if residents is Residents.MOVE else switch_only
    try:
        begin(connection, customer_id, schema, DataSourceId(target), actor=_ACTOR, new_id=new_id)
    except RefusedError as error:
        raise ConfigurationError(f"a customer cannot be moved to {target}: {error}") from error


def _refuse_moving(row: Any, target: str | None) -> None:
    if row is None or row.moving_to is None or row.data_source_id == target:
        return
    raise ConfigurationError(
        f"a customer is being moved from {row.data_source_id} to {row.moving_to}, and its file now says "
        f"{target or 'neither'}: wait for the move, or cancel it (`headrace customers moves` lists it)"
    )


def _bind(connection: sa.Connection, customer_id: str, schema: str, target: str) -> None:
    insert = insert_or(connection, binding).values(
        customer_id=customer_id, schema=schema, data_source_id=target, origin="explicit"
    )
    upsert = insert.on_conflict_do_update(
        index_elements=[binding.c.customer_id, binding.c.schema],
        set_={"data_source_id": target, "origin": "explicit", "epoch": binding.c.epoch + 1},
        where=binding.c.data_source_id != target,
    )
    connection.execute(upsert)


def _is(row: Any) -> sa.ColumnElement[bool]:
    return sa.and_(binding.c.customer_id == row.customer_id, binding.c.schema == row.schema)
