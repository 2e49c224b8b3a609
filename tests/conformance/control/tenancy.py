"""A control database with groups, schemas and data sources to route customers by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from headrace.control.audit import AuditEntry, SqlAudit
from headrace.control.customer_change import CustomerChange
from headrace.control.customer_view import CustomerView
from headrace.control.customers import NewCustomer, SqlCustomers
from headrace.control.data_sources import SqlDataSources
from headrace.control.engine import writing
from headrace.control.move_tables import residence
from headrace.control.moves import SqlMoves
from headrace.control.sharing import Places
from headrace.control.tables import binding
from headrace.control.tables import customer as customers
from headrace.control.vault import Vault
from headrace.definition.location import location_of
from headrace.domain.assignment import Asked, Named
from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError
from headrace.ports.registering import NewDataSource
from tests.conformance.control.project import USERS, Control

ACTOR = "cli:tester"
PRODUCTION, TESTING = "production", "testing"


def data_source_body(schema: str, groups: list[str], **more: Any) -> dict[str, Any]:
    body = {"nickname": "One", "schema": schema, "visibility_groups": groups, "type": "sqlite"}
    return {**body, "url": "sqlite:///stores/none.db", **more}


TENANCY: dict[tuple[str, str], Any] = {
    ("visibility_groups", PRODUCTION): {"name": "Production"},
    ("visibility_groups", TESTING): {"name": "Testing"},
    ("schemas", "shop"): {"name": "Shop"},
    ("schemas", "desk"): {"name": "Desk"},
    ("models", "users"): {"name": "Users", "schema": "shop"},
    ("data_sources", "main"): data_source_body(
        "shop", [PRODUCTION], default_for=[PRODUCTION], provided_id="main-1"
    ),
    ("data_sources", "eu"): data_source_body("shop", [PRODUCTION], provided_id="eu-1"),
    ("data_sources", "own"): data_source_body("shop", [PRODUCTION], isolation="dedicated"),
    ("data_sources", "desk"): data_source_body("desk", [PRODUCTION, TESTING]),
    ("data_sources", "test"): data_source_body("shop", [TESTING]),
    ("customers", "globex"): {
        "name": "Globex",
        "visibility_group": PRODUCTION,
        "data_sources": {"shop": "eu"},
    },
}


class Tenancy:
    """Everything that works on customers, over one control database with these definitions applied."""

    def __init__(self, control: Control, *, bodies: dict[tuple[str, str], Any] = TENANCY) -> None:
        self.control = control
        self.engine = control.engine
        self.customers = SqlCustomers(self.engine)
        places = Places(
            vault=Vault(["a passphrase of the tests"]),
            environ={},
            given=location_of,
            control_url="sqlite:///control.db",
        )
        self.data_sources = SqlDataSources(self.engine, places)
        self.moves = SqlMoves(self.engine)
        control.apply(USERS, bodies=bodies)

    def create(self, provided_id: str, group: str = PRODUCTION, **fields: Any) -> CustomerView:
        mapping = {schema: Named(id=id_) for schema, id_ in fields.pop("mapping", {}).items()}
        asked = fields.pop("asked", None) or Asked(mapping=mapping)
        new = NewCustomer(provided_id=provided_id, asked=asked, **fields)
        return self.customers.create(group, new, actor=ACTOR)[0]

    def update(self, customer: str, group: str = PRODUCTION, **fields: Any) -> CustomerView:
        mapping = {schema: Named(id=id_) for schema, id_ in fields.pop("mapping", {}).items()}
        change = CustomerChange(asked=Asked(mapping=mapping), **fields)
        return self.customers.update(group, f"provided:{customer}", change, actor=ACTOR)

    def get(self, provided_id: str, group: str = PRODUCTION) -> CustomerView:
        return self.customers.get(group, f"provided:{provided_id}")

    def route(self, provided_id: str, schema: str = "shop", group: str = PRODUCTION) -> str | None:
        place = self.get(provided_id, group).computed_mapping[schema]
        return place.id if place else None

    def journalled(self, provided_id: str, schema: str = "shop", group: str = PRODUCTION) -> str:
        """The customer's first row of the schema is journalled: it resides there, pinned if by default."""
        view = self.get(provided_id, group)
        place = view.computed_mapping[schema]
        assert place is not None
        with writing(self.engine) as connection:
            values = {"customer_id": view.id, "schema": schema, "data_source_id": place.id}
            if "provided_id" in residence.c:
                values["provided_id"] = provided_id
            connection.execute(sa.insert(residence).values(values))
            if view.via[schema] == "default":
                pin = {"customer_id": view.id, "schema": schema, "data_source_id": place.id}
                connection.execute(sa.insert(binding).values(**pin, origin="pinned_default"))
        return place.id

    def add(self, url: str, *, within: str | None = PRODUCTION, **fields: Any) -> DataSourceId:
        """A data source is registered, and serves."""
        given = {"nickname": "Added", "schema": "shop", "visibility_groups": (PRODUCTION,)}
        given |= {"type": "sqlite" if url.startswith("sqlite") else "postgres", "url": url, **fields}
        id_ = self.data_sources.register(NewDataSource(**given), actor=ACTOR, within=within)
        self.data_sources.activate(id_, actor=ACTOR, within=within)
        return id_

    def epoch(self, provided_id: str, schema: str = "shop") -> int:
        epochs = sa.select(binding.c.epoch).join(customers, customers.c.id == binding.c.customer_id)
        with self.engine.connect() as connection:
            named = epochs.where(customers.c.provided_id == provided_id, binding.c.schema == schema)
            return connection.execute(named).scalar_one()

    def version(self) -> int:
        return self.control.routes.version()

    def audited(self, **which: Any) -> tuple[AuditEntry, ...]:
        return SqlAudit(self.engine).list(limit=100, **which).items


@contextmanager
def refused(code: Refusal) -> Iterator[None]:
    with pytest.raises(RefusedError) as error:
        yield
    assert error.value.code == code, error.value.detail


@pytest.fixture
def tenancy(bare: Control) -> Tenancy:
    return Tenancy(bare)
