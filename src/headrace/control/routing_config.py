"""Data sources, defaults, customers and bindings of the config directory, brought to the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from headrace.control.config_bindings import write_bindings
from headrace.control.engine import insert_or
from headrace.control.move_tables import residence
from headrace.control.routing_change import ENTERS_OR_LEAVES, movers_of, routing_rows, strays
from headrace.control.tables import (
    batch,
    binding,
    customer,
    data_source,
    data_source_group,
    default_data_source,
    feed_log,
    routing_version,
)
from headrace.control.types import now
from headrace.domain.routing import MAX_ANCESTORS
from headrace.errors import ConfigurationError, Fault
from headrace.ports import Residents

Bodies = Mapping[tuple[str, str], Any]


@dataclass(frozen=True, slots=True)
class _Customer:
    """A customer's file, with what it leaves implied."""

    config_id: str
    group: str
    provided_id: str
    name: str
    parent: str | None
    data_sources: Mapping[str, str]


def change_routing(
    connection: sa.Connection,
    bodies: Bodies,
    *,
    residents: Residents = Residents.REFUSE,
    new_id: Callable[[], str],
) -> None:
    """Bring routing to what the definitions say; its version is raised if that changed anything.

    What the API or rows made is left alone.

    Raises:
        ConfigurationError: a customer would be led away from its records, a data source that goes is still
            bound, or parents are too deep.
    """
    groups = [id_ for kind, id_ in bodies if kind == "visibility_groups"]
    customers = [_customer(id_, body, groups) for id_, body in _of_kind(bodies, "customers")]
    _check_depth(customers)
    # From here to the commit no page is journalled that was resolved by the old routing.
    connection.execute(sa.select(routing_version.c.version).with_for_update())
    rows_before = routing_rows(connection)
    moving = movers_of(connection)
    _write_data_sources(connection, bodies, groups)
    _write_customers(connection, customers, new_id=new_id)
    if moving != movers_of(connection):
        raise ConfigurationError(ENTERS_OR_LEAVES)
    write_bindings(connection, _bindings(connection, customers), residents=residents, new_id=new_id)
    _remove_data_sources(connection, bodies)
    if routing_rows(connection) != rows_before:
        _refuse_strays(connection)
        raised = routing_version.c.version + 1
        connection.execute(sa.update(routing_version).values(version=raised))


def _bindings(connection: sa.Connection, customers: list[_Customer]) -> dict[str, Mapping[str, str]]:
    """The data source by schema, by control's id of each customer that has a file."""
    ids = _ids(connection)
    return {ids[c.config_id]: c.data_sources for c in customers}


def _of_kind(bodies: Bodies, kind: str) -> Iterator[tuple[str, Any]]:
    return ((id_, body) for (its_kind, id_), body in sorted(bodies.items()) if its_kind == kind)


def _customer(id_: str, body: Mapping[str, Any], groups: list[str]) -> _Customer:
    return _Customer(
        config_id=id_,
        group=body.get("visibility_group") or groups[0],
        provided_id=body.get("provided_id") or id_,
        name=body["name"],
        parent=body.get("parent"),
        data_sources=body.get("data_sources") or {},
    )


def _check_depth(customers: list[_Customer]) -> None:
    parents = {c.config_id: c.parent for c in customers}
    faults = []
    for id_ in parents:
        at, depth = parents[id_], 0
        while at is not None and depth <= MAX_ANCESTORS:
            at, depth = parents.get(at), depth + 1
        if depth > MAX_ANCESTORS:
            message = f"more than {MAX_ANCESTORS} customers above it; name a parent higher up"
            faults.append(Fault(f"customers/{id_}.json", "parent", message))
    if faults:
        raise ConfigurationError(*faults)


# --- data sources -------------------------------------------------------------------------------


def _write_data_sources(connection: sa.Connection, bodies: Bodies, groups: list[str]) -> None:
    known = {row.id: row for row in connection.execute(sa.select(data_source))}
    _refuse_taken_ids(bodies, known)
    said = {(group, row.schema) for row in known.values() for group in row.body.get("default_for") or ()}
    defaults: dict[tuple[str, str], str] = {}
    for id_, body in _of_kind(bodies, "data_sources"):
        values = {
            "provided_id": body.get("provided_id") or id_,
            "nickname": body["nickname"],
            "schema": body["schema"],
            "isolation": body.get("isolation", "shared"),
            "origin": "config",
            "body": body,
        }
        if id_ not in known:
            connection.execute(sa.insert(data_source).values(id=id_, **values))
        elif any(getattr(known[id_], name) != value for name, value in values.items()):
            update = sa.update(data_source).where(data_source.c.id == id_)
            connection.execute(update.values(values | {"config_version": data_source.c.config_version + 1}))
        _write_groups(connection, id_, body.get("visibility_groups") or groups)
        defaults |= {(group, body["schema"]): id_ for group in body.get("default_for") or ()}
    _write_defaults(connection, defaults, said=said)


def _refuse_taken_ids(bodies: Bodies, known: Mapping[str, sa.Row[Any]]) -> None:
    """Raises ConfigurationError where the API made a data source with an id or `provided_id` of a file."""
    made = [row for row in known.values() if row.origin == "api"]
    taken = {row.id: row.id for row in made} | {row.provided_id: row.id for row in made}
    faults = []
    for id_, body in _of_kind(bodies, "data_sources"):
        provided_id = body.get("provided_id") or id_
        if id_ in taken or provided_id in taken:
            found = taken.get(provided_id) or taken[id_]
            message = (
                f'data source {found}, which `headrace data-sources` or the API made, has "{provided_id}" '
                "already; give another provided_id, or delete that data source"
            )
            faults.append(Fault(f"data_sources/{id_}.json", "provided_id", message))
    if faults:
        raise ConfigurationError(*faults)


def _write_groups(connection: sa.Connection, data_source_id: str, groups: list[str]) -> None:
    of_it = data_source_group.c.data_source_id == data_source_id
    connection.execute(sa.delete(data_source_group).where(of_it))
    rows = [{"data_source_id": data_source_id, "visibility_group": group} for group in groups]
    connection.execute(sa.insert(data_source_group), rows)


def _write_defaults(
    connection: sa.Connection, defaults: Mapping[tuple[str, str], str], *, said: set[tuple[str, str]]
) -> None:
    """What files say is the default; where they said so (`said`) and do not any more there is none, and what
    the API said where they say nothing stays."""
    for group, schema in sorted(said - defaults.keys()):
        of_it = sa.and_(
            default_data_source.c.visibility_group == group, default_data_source.c.schema == schema
        )
        connection.execute(sa.delete(default_data_source).where(of_it))
    for (group, schema), id_ in sorted(defaults.items()):
        insert = insert_or(connection, default_data_source).values(
            visibility_group=group, schema=schema, data_source_id=id_
        )
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=[default_data_source.c.visibility_group, default_data_source.c.schema],
                set_={"data_source_id": insert.excluded.data_source_id},
            )
        )


def _remove_data_sources(connection: sa.Connection, bodies: Bodies) -> None:
    """Remove data sources whose file is gone, and end their logs; what is stored in them stays."""
    kept = [id_ for id_, _ in _of_kind(bodies, "data_sources")]
    gone = sa.and_(data_source.c.origin == "config", data_source.c.id.not_in(kept))
    ids = connection.execute(sa.select(data_source.c.id).where(gone)).scalars().all()
    places = (binding.c.data_source_id, binding.c.moving_to, residence.c.data_source_id)
    held = sa.union(*(sa.select(place).where(place.in_(ids)) for place in places))
    faults = [
        Fault(
            f"data_sources/{id_}.json",
            "",
            "customers are bound to it, move to it or have records in it: bind or move them elsewhere first",
        )
        for id_ in sorted(connection.execute(held).scalars())
    ]
    if faults:
        raise ConfigurationError(*faults)
    for table in (feed_log, batch, default_data_source):
        connection.execute(sa.delete(table).where(table.c.data_source_id.in_(ids)))
    connection.execute(sa.delete(data_source).where(data_source.c.id.in_(ids)))


# --- customers ----------------------------------------------------------------------------------


def _write_customers(
    connection: sa.Connection, customers: list[_Customer], *, new_id: Callable[[], str]
) -> None:
    """Customers are one by (group, provided_id): a file takes over one that rows or the API made, and
    one whose file went stays as if rows had made it."""
    wanted = {(c.group, c.provided_id): c for c in customers}
    of_config = sa.select(customer).where(customer.c.origin == "config")
    for row in connection.execute(of_config).all():
        now_defined = wanted.get((row.visibility_group, row.provided_id))
        if now_defined is None or now_defined.config_id != row.config_id:
            let_go = sa.update(customer).where(customer.c.id == row.id)
            connection.execute(let_go.values(origin="row", config_id=None, parent_id=None))
            explicit = sa.and_(binding.c.customer_id == row.id, binding.c.origin == "explicit")
            connection.execute(sa.delete(binding).where(explicit))
    for c in customers:
        insert = insert_or(connection, customer).values(
            id=new_id(),
            provided_id=c.provided_id,
            visibility_group=c.group,
            name=c.name,
            properties={},
            origin="config",
            config_id=c.config_id,
            made_at=now(),
        )
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=[customer.c.visibility_group, customer.c.provided_id],
                set_={name: insert.excluded[name] for name in ("name", "origin", "config_id")},
            )
        )
    _write_parents(connection, customers)


def _write_parents(connection: sa.Connection, customers: list[_Customer]) -> None:
    ids = _ids(connection)
    for c in customers:
        parent_id = None if c.parent is None else ids[c.parent]
        connection.execute(
            sa.update(customer).where(customer.c.config_id == c.config_id).values(parent_id=parent_id)
        )


def _ids(connection: sa.Connection) -> dict[str, str]:
    rows = connection.execute(
        sa.select(customer.c.config_id, customer.c.id).where(customer.c.origin == "config")
    )
    return {row.config_id: row.id for row in rows}


# --- what follows -------------------------------------------------------------------------------


def _refuse_strays(connection: sa.Connection) -> None:
    faults = []
    for stray in strays(connection):
        binding_of_its_own = f"customers/{stray.customer}"
        faults.append(f"{stray}: {_MEND.format(binding_of_its_own)}")
    if faults:
        raise ConfigurationError(*faults)


_MEND = (
    "where the customer's own file says so, run `headrace apply --move` to move it with its records, or "
    "`headrace apply --switch-only` to leave them behind; else name its data source in config/{0}.json"
)
