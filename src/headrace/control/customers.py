"""Customers: made or found, changed, removed; within one visibility group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from headrace.control.applied_ids import schemas_of
from headrace.control.assigning import bind, wanted_bindings
from headrace.control.audit import Act, AuditLine, acting
from headrace.control.customer_change import (
    CustomerChange,
    changed_names,
    guarding,
    homes_of,
    mapped,
    refuse_config_owned,
    write_change,
)
from headrace.control.customer_view import (
    CUSTOMERS,
    CustomerView,
    customer_views,
    find_customer,
    own_bindings,
)
from headrace.control.dropping import Feeds, drop_rows, lock_feeds
from headrace.control.engine import insert_or, reading
from headrace.control.impact import Impact, foreseen
from headrace.control.move_target import refuse_namesakes
from headrace.control.new_id import new_uuid
from headrace.control.paging import Page, page_of, place_of
from headrace.control.parents import find_parent, put_below
from headrace.control.routes import routes_of
from headrace.control.routing_change import changing_routing
from headrace.control.tables import customer
from headrace.control.types import now
from headrace.domain.assignment import Asked, refuse_other_mapping
from headrace.domain.refusal import Refusal
from headrace.domain.routing import Route
from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.errors import RefusedError


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

    def exists(self, group: str, provided_id: str) -> bool:
        """The group has a customer of this `provided_id`."""
        one = sa.select(customer.c.id).where(
            customer.c.visibility_group == group, customer.c.provided_id == provided_id
        )
        with reading(self._engine) as connection:
            return connection.execute(one).first() is not None

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
            with guarding(act.connection, change, found.id):
                write_change(act.connection, group, found.id, change)
            view = _view(act.connection, group, found.id)
            act.note(detail={"changed": changed_names(change), **mapped(change, view)})
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
            lambda connection: write_change(connection, group, found.id, change),
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
            for home in homes_of(connection, found.id)
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
                put_below(connection, group, id_, new.parent)
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


def _refuse_deletion(connection: sa.Connection, found: sa.Row[Any]) -> None:
    refuse_config_owned(found)
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
    if new.parent is not None and find_parent(connection, group, new.parent).id != found.parent_id:
        raise RefusedError(
            Refusal.CUSTOMER_EXISTS,
            "the customer exists, and has another parent: change it, or ask for it without naming one",
        )
