"""Customers: made or found, changed, removed; within one visibility group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import sqlalchemy as sa

from headrace.control.applied_ids import schemas_of
from headrace.control.assigning import bind, refuse_moving, unbind, wanted_bindings
from headrace.control.audit import Act, AuditLine, acting
from headrace.control.customer_tree import with_descendants
from headrace.control.customer_view import (
    CUSTOMERS,
    CustomerView,
    customer_views,
    find_customer,
    own_bindings,
)
from headrace.control.dropping import Feeds, drop_rows, lock_feeds
from headrace.control.engine import insert_or, reading, refusing_taken
from headrace.control.impact import Impact, foreseen
from headrace.control.move_tables import residence
from headrace.control.move_target import refuse_namesakes
from headrace.control.new_id import new_uuid
from headrace.control.paging import Page, page_of, place_of
from headrace.control.routes import routes_of
from headrace.control.routing_change import changing_routing
from headrace.control.tables import customer
from headrace.control.types import now
from headrace.domain.assignment import Asked, refuse_other_mapping
from headrace.domain.refusal import Refusal
from headrace.domain.routing import MAX_ANCESTORS, Route
from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.errors import RefusedError


class Unchanged(Enum):
    """Said of what a change leaves as it is, where None says something."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED

_TAKEN: Final = "another customer has this provided_id: give another one"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCustomer:
    """A customer to be made, or found.

    Attributes:
        name: the `provided_id` unless it is given.
        parent: an id or `provided:<provided_id>`.
    """

    provided_id: str
    name: str | None = None
    parent: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    asked: Asked = field(default_factory=Asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerChange:
    """What is to change of a customer.

    Attributes:
        parent: None: it has none any more.
        unbound: schemas in which it shall inherit.
    """

    name: str | None = None
    provided_id: str | None = None
    properties: Mapping[str, Any] | None = None
    parent: str | Unchanged | None = UNCHANGED
    asked: Asked = field(default_factory=Asked)
    unbound: tuple[str, ...] = ()


class SqlCustomers:
    """Customers in the control database. Each change leaves a line in the audit, each refusal too."""

    def __init__(self, engine: sa.Engine, *, new_id: Callable[[], str] = new_uuid) -> None:
        self._engine = engine
        self._new_id = new_id

    def get(self, group: str, name: str) -> CustomerView:
        """The customer with this id, or `provided:<provided_id>`.

        Raises:
            RefusedError: `not_found`.
        """
        with reading(self._engine) as connection:
            return _view(connection, group, name)

    def list(
        self, group: str, *, limit: int, after: str | None = None, parent: str | None = None
    ) -> Page[CustomerView]:
        """Customers in order of `provided_id`.

        Args:
            after: the `next` of the page before.
            parent: only those directly below this one.
        """
        rows = CUSTOMERS.where(customer.c.visibility_group == group)
        if after is not None:
            rows = rows.where(customer.c.provided_id > place_of(after))
        with reading(self._engine) as connection:
            if parent is not None:
                rows = rows.where(customer.c.parent_id == find_customer(connection, group, parent).id)
            found = connection.execute(rows.order_by(customer.c.provided_id).limit(limit + 1)).all()
            page = page_of(found, limit, lambda row: str(row.provided_id))
            return Page(tuple(customer_views(connection, group, page.items)), page.next)

    def explain(self, group: str, name: str, schema: str) -> tuple[str, Route]:
        """The customer's `provided_id`, and its route with the trace.

        Raises:
            RefusedError: `not_found`: there is no such customer or schema.
        """
        with reading(self._engine) as connection:
            provided_id = str(find_customer(connection, group, name).provided_id)
            if schema not in schemas_of(connection):
                raise RefusedError(Refusal.NOT_FOUND, "there is no such schema")
            return provided_id, routes_of(connection, schema, group, [provided_id])[provided_id]

    def create(self, group: str, new: NewCustomer, *, actor: str) -> tuple[CustomerView, bool]:
        """The customer with this `provided_id`, and whether it was made now.

        Raises:
            RefusedError: it exists and is bound otherwise than was asked for, or nothing can be made of what
                was asked for.
        """
        line = AuditLine(
            actor=actor, action="customer.create", visibility_group=group, customer=new.provided_id
        )
        by_provided = f"provided:{new.provided_id}"
        with acting(self._engine, line) as act:
            made = self._insert(act.connection, group, new)
            if not made:
                _agree(act.connection, group, new)
            view = _view(act.connection, group, by_provided)
            act.note(detail={"made": made, "mapping": {s: p.id for s, p in view.mapping.items()}})
        return view, made

    def update(self, group: str, name: str, change: CustomerChange, *, actor: str) -> CustomerView:
        """The customer is as the change says.

        Raises:
            RefusedError: `customer_has_records` where it would be led away from its records; and whatever
                else is wrong.
        """
        line = AuditLine(actor=actor, action="customer.update", visibility_group=group, customer=name)
        with _acting_on(self._engine, line, name) as (act, found):
            with _guarded(act.connection, change, found.id):
                _write(act.connection, group, found.id, change)
            view = _view(act.connection, group, found.id)
            act.note(detail={"changed": _changed(change), **_mapped(change, view)})
        return view

    def foresee(self, group: str, name: str, change: CustomerChange) -> Impact:
        """Who would be led elsewhere by this change; nothing is changed.

        Raises:
            RefusedError: as `update`, but for customers with records, whom the impact tells.
        """
        with reading(self._engine) as connection:
            found = find_customer(connection, group, name)
        return foreseen(
            self._engine,
            lambda connection: _write(connection, group, found.id, change),
            group=group,
            whom=[found.id],
        )

    def delete(self, group: str, name: str, *, actor: str) -> Sequence[tuple[DataSourceId, ModelId]]:
        """The customer is gone; what data sources have of it goes with the merges that are given.

        Raises:
            RefusedError: `owned_by_config`, `customer_has_children`, `move_under_way`.
        """
        line = AuditLine(actor=actor, action="customer.delete", visibility_group=group, customer=name)
        with _acting_on(self._engine, line, name) as (act, _):
            connection = act.connection
            # Before routing, as journals lock.
            held = lock_feeds(connection)
            found = find_customer(connection, group, name)
            with changing_routing(connection, whom=[found.id]) as version:
                _refuse_deletion(connection, found)
                merges = self._drop(connection, held, found, version)
                connection.execute(sa.delete(customer).where(customer.c.id == found.id))
            act.note(detail={"dropped_from": sorted({data_source for data_source, _ in merges})})
        return merges

    def _drop(
        self, connection: sa.Connection, held: Feeds, found: sa.Row[Any], version: int
    ) -> Sequence[tuple[DataSourceId, ModelId]]:
        """It is journalled that its rows go from wherever it has some."""
        return [
            (DataSourceId(home), model)
            for home in _homes(connection, found.id)
            for model in drop_rows(
                connection,
                held,
                data_source_id=home,
                customers=[found.provided_id],
                version=version,
                new_id=self._new_id,
            )
        ]

    def _insert(self, connection: sa.Connection, group: str, new: NewCustomer) -> bool:
        """Make it with its bindings, unless somebody has made it: nobody has resolved it before."""
        id_ = self._new_id()
        taken = sa.select(customer.c.id).where(
            customer.c.visibility_group == group, customer.c.provided_id == new.provided_id
        )
        if connection.execute(taken).first() is not None:
            return False
        # Whose ancestors are changed meanwhile might be too deep, or in a circle.
        guard = changing_routing(connection, whom=[id_]) if new.parent is not None else nullcontext(0)
        with guard:
            wanted = wanted_bindings(connection, group, new.asked)
            insert = insert_or(connection, customer).values(
                id=id_,
                provided_id=new.provided_id,
                visibility_group=group,
                name=new.name or new.provided_id,
                properties=dict(new.properties),
                origin="api",
                made_at=now(),
            )
            done = connection.execute(insert.on_conflict_do_nothing().returning(customer.c.id))
            if done.first() is None:
                return False
            if new.parent is not None:
                _put_below(connection, group, id_, new.parent)
            bind(connection, id_, wanted)
            for data_source_id in wanted.values():
                refuse_namesakes(connection, data_source_id, [id_])
        return True


@contextmanager
def _acting_on(engine: sa.Engine, line: AuditLine, name: str) -> Iterator[tuple[Act, sa.Row[Any]]]:
    """As `acting`, on a customer that exists; the line has its `provided_id`."""
    with acting(engine, line) as act:
        found = find_customer(act.connection, str(line.visibility_group), name)
        act.note(customer=found.provided_id)
        yield act, found


@contextmanager
def _guarded(connection: sa.Connection, change: CustomerChange, customer_id: str) -> Iterator[None]:
    routes = change.parent is not UNCHANGED or change.asked != Asked() or change.unbound
    if not routes and change.provided_id is None:
        yield
        return
    with changing_routing(connection, whom=[customer_id]):
        yield


def _write(connection: sa.Connection, group: str, customer_id: str, change: CustomerChange) -> None:
    # Again, now that nobody else changes routing.
    found = find_customer(connection, group, customer_id)
    _refuse_config_owned(found)
    values: dict[str, Any] = {}
    if change.name is not None:
        values["name"] = change.name
    if change.properties is not None:
        values["properties"] = dict(change.properties)
    if change.provided_id is not None and change.provided_id != found.provided_id:
        _check_renaming(connection, found, change.provided_id)
        values["provided_id"] = change.provided_id
    if values:
        with refusing_taken(Refusal.CUSTOMER_EXISTS, _TAKEN):
            connection.execute(sa.update(customer).where(customer.c.id == customer_id).values(values))
    if change.parent is not UNCHANGED:
        _put_below(connection, group, customer_id, change.parent)
    _rebind(connection, group, customer_id, change)


def _rebind(connection: sa.Connection, group: str, customer_id: str, change: CustomerChange) -> None:
    bindings = own_bindings(connection, customer_id)
    bound = {schema: DataSourceId(row.data_source_id) for schema, row in bindings.items()}
    wanted = wanted_bindings(connection, group, change.asked, customer_id=customer_id, bound=bound)
    both = sorted(wanted.keys() & set(change.unbound))
    if both:
        raise RefusedError(
            Refusal.DATA_SOURCE_CONFLICT, f"{', '.join(both)}: bound and unbound at once: say one"
        )
    changed = {schema for schema, id_ in wanted.items() if bound.get(schema) != id_}
    refuse_moving(bindings, changed | set(change.unbound))
    bind(connection, customer_id, wanted)
    for schema in sorted(changed):
        refuse_namesakes(connection, wanted[schema], with_descendants(connection, [customer_id]))
    unbind(connection, customer_id, change.unbound)


def _refuse_deletion(connection: sa.Connection, found: sa.Row[Any]) -> None:
    _refuse_config_owned(found)
    below = sa.select(sa.func.count()).where(customer.c.parent_id == found.id)
    if children := connection.execute(below).scalar_one():
        raise RefusedError(
            Refusal.CUSTOMER_HAS_CHILDREN,
            f"{children} customers are below it: give them another parent, or delete them first",
        )
    for schema in schemas_of(connection):
        routes = routes_of(connection, schema, found.visibility_group, [found.provided_id])
        if routes[found.provided_id].moving_to is not None:
            raise RefusedError(
                Refusal.MOVE_UNDER_WAY,
                f"the customer is being moved in {schema}: wait for the move, or cancel it",
                schemas=[schema],
            )


def _view(connection: sa.Connection, group: str, name: str) -> CustomerView:
    (view,) = customer_views(connection, group, [find_customer(connection, group, name)])
    return view


def _agree(connection: sa.Connection, group: str, new: NewCustomer) -> None:
    """What exists is what was asked for."""
    found = find_customer(connection, group, f"provided:{new.provided_id}")
    rows = own_bindings(connection, found.id)
    bound = {schema: DataSourceId(row.data_source_id) for schema, row in rows.items()}
    refuse_other_mapping(
        wanted_bindings(connection, group, new.asked, customer_id=found.id, bound=bound), bound
    )
    if new.parent is not None and _parent(connection, group, new.parent).id != found.parent_id:
        raise RefusedError(
            Refusal.CUSTOMER_EXISTS,
            "the customer exists, and has another parent: change it, or ask for it without naming one",
        )


def _parent(connection: sa.Connection, group: str, name: str) -> sa.Row[Any]:
    try:
        return find_customer(connection, group, name)
    except RefusedError:
        raise RefusedError(Refusal.PARENT_UNFIT, "there is no such customer to be the parent") from None


def _put_below(connection: sa.Connection, group: str, customer_id: str, parent: str | None) -> None:
    """The customer is below this one; nobody has more than `MAX_ANCESTORS` above.

    Raises:
        RefusedError: `parent_unfit`.
    """
    parent_id = None if parent is None else str(_parent(connection, group, parent).id)
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


def _check_renaming(connection: sa.Connection, found: sa.Row[Any], provided_id: str) -> None:
    if homes := _homes(connection, found.id):
        raise RefusedError(
            Refusal.CUSTOMER_HAS_RECORDS,
            f"its records in {', '.join(homes)} carry its provided_id, which cannot change any more",
        )
    same = sa.select(customer.c.id).where(
        customer.c.visibility_group == found.visibility_group, customer.c.provided_id == provided_id
    )
    if connection.execute(same).first() is not None:
        raise RefusedError(Refusal.CUSTOMER_EXISTS, _TAKEN)


def _homes(connection: sa.Connection, customer_id: str) -> list[str]:
    of_it = sa.select(residence.c.data_source_id).where(residence.c.customer_id == customer_id)
    return sorted(connection.execute(of_it).scalars())


def _refuse_config_owned(found: sa.Row[Any]) -> None:
    if found.origin == "config":
        raise RefusedError(
            Refusal.OWNED_BY_CONFIG,
            f"the customer is defined in customers/{found.config_id}.json: change it there, and apply",
        )


def _changed(change: CustomerChange) -> list[str]:
    names = [name for name in ("name", "provided_id", "properties") if getattr(change, name) is not None]
    return names + ([] if change.parent is UNCHANGED else ["parent"])


def _mapped(change: CustomerChange, view: CustomerView) -> dict[str, Any]:
    if change.asked == Asked() and not change.unbound:
        return {}
    return {"mapping": {schema: place.id for schema, place in view.mapping.items()}}
