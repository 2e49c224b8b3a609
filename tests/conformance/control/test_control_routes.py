"""The port `Routes`, against the pure rule of the domain."""

from __future__ import annotations

from typing import Any

from headrace.ports import Routing
from tests.conformance.control.project import BODIES, MAIN, SIDE, USERS, Control

PARENT = {"name": "Parent", "data_sources": {"shop": "side"}}
CHILD = {"name": "Child", "parent": "parent"}


def resolve(control: Control, *customers: str, create: bool = False, group: str = "production") -> Routing:
    return control.routes.resolve(
        schema="shop", visibility_group=group, customers=customers, create_unknown=create
    )


def apply(control: Control, **customers: Any) -> None:
    control.apply(USERS, bodies=BODIES | {("customers", name): body for name, body in customers.items()})


def test_own_binding_then_the_nearest_ancestors_then_the_default(bare: Control) -> None:
    own = {"name": "Own", "parent": "parent", "data_sources": {"shop": "main"}}
    apply(bare, parent=PARENT, child=CHILD, own=own, free={"name": "Free"})
    found = resolve(bare, "parent", "child", "own", "free")
    assert found.data_sources == {"parent": SIDE, "child": SIDE, "own": MAIN, "free": MAIN}
    assert (found.refused, found.version) == ({}, bare.routes.version())


def test_unknown_customers_are_held_or_made_and_the_default_one_is_always_made(control: Control) -> None:
    held = resolve(control, "new", "default")
    assert (held.data_sources, held.refused) == ({"default": MAIN}, {"new": "unknown customer"})
    made = resolve(control, "new", "other", create=True)
    assert (made.data_sources, made.refused) == ({"new": MAIN, "other": MAIN}, {})
    assert made.version == held.version == control.routes.version()
    assert control.count("customer", "origin = 'row'") == 3


def test_a_customer_is_another_one_in_another_group(control: Control) -> None:
    resolve(control, "acme", create=True)
    assert resolve(control, "acme", group="testing").refused == {"acme": "unknown customer"}


def test_a_route_that_cannot_be_used_is_refused_and_never_the_default(bare: Control) -> None:
    apply(bare, parent=PARENT, child=CHILD)
    bare.write("UPDATE data_source SET state = 'disabled' WHERE id = 'side'")
    found = resolve(bare, "parent", "child")
    assert found.data_sources == {}
    assert found.refused == dict.fromkeys(("parent", "child"), "data source side is disabled")


def test_without_binding_and_default_a_customer_leads_nowhere(control: Control) -> None:
    control.write("DELETE FROM default_data_source")
    found = resolve(control, "new", create=True)
    assert found.data_sources == {}
    assert "no default of (production, shop)" in found.refused["new"]


def test_thousands_of_customers_are_made_and_resolved_at_once(control: Control) -> None:
    names = [f"customer-{n}" for n in range(6_000)]
    assert len(resolve(control, *names, create=True).data_sources) == 6_000
    assert len(resolve(control, *names).data_sources) == 6_000
