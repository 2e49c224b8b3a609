"""Customers: made or found, changed and removed, and what is refused."""

from __future__ import annotations

import pytest

from headrace.control.customer_change import CustomerChange
from headrace.control.paging import cursor_of
from headrace.domain.assignment import Asked, Named
from headrace.domain.refusal import Refusal
from headrace.domain.routing import Via
from headrace.domain.vocabulary import DataSourceId
from tests.conformance.control.project import rows
from tests.conformance.control.tenancy import ACTOR, PRODUCTION, TESTING, Tenancy, refused, tenancy

__all__ = ["tenancy"]


def test_a_customer_without_data_sources_takes_the_late_default(tenancy: Tenancy) -> None:
    made = tenancy.create("acme", name="Acme", properties={"plan": "gold"})
    assert (made.name, made.properties, made.origin, made.mapping) == ("Acme", {"plan": "gold"}, "api", {})
    assert {s: p and p.id for s, p in made.computed_mapping.items()} == {"shop": "main", "desk": None}
    assert made.via == {"shop": Via.DEFAULT, "desk": None}


def test_every_form_of_assignment_binds(tenancy: Tenancy) -> None:
    forms = (
        Asked(data_source_id="eu"),
        Asked(data_source_provided_id="eu-1"),
        Asked(mapping={"shop": Named(id="eu")}),
        Asked(mapping={"shop": Named(provided_id="eu-1")}),
    )
    for number, asked in enumerate(forms):
        made = tenancy.create(f"c{number}", asked=asked)
        assert {s: p.id for s, p in made.mapping.items()} == {"shop": "eu"}
        assert (made.via["shop"], made.mapping["shop"].provided_id) == (Via.OWN, "eu-1")


def test_a_customer_that_exists_is_found_by_its_provided_id(tenancy: Tenancy) -> None:
    made = tenancy.create("acme", mapping={"shop": "eu"})
    again = tenancy.create("acme", name="Another", mapping={"shop": "eu"})
    assert (again.id, again.name) == (made.id, "acme")
    assert tenancy.create("acme").id == made.id
    assert tenancy.create("acme", group=TESTING).id != made.id


def test_a_customer_that_exists_with_another_mapping_is_refused_and_stays(tenancy: Tenancy) -> None:
    tenancy.create("acme", mapping={"shop": "eu"})
    tenancy.create("late")
    with refused(Refusal.CUSTOMER_EXISTS):
        tenancy.create("acme", mapping={"shop": "main"})
    with refused(Refusal.CUSTOMER_EXISTS):
        tenancy.create("late", mapping={"shop": "main"})
    assert (tenancy.route("acme"), tenancy.get("late").mapping) == ("eu", {})


def test_a_wrong_data_source_leaves_no_customer_and_never_the_default(tenancy: Tenancy) -> None:
    for asked, code in (
        (Asked(data_source_id="none"), Refusal.NOT_FOUND),
        (Asked(data_source_id="test"), Refusal.NOT_FOUND),
        (Asked(mapping={"desk": Named(id="eu")}), Refusal.DATA_SOURCE_UNFIT),
        (Asked(data_source_id="eu", mapping={"shop": Named(id="main")}), Refusal.DATA_SOURCE_CONFLICT),
    ):
        with refused(code):
            tenancy.create("acme", asked=asked)
        with refused(Refusal.NOT_FOUND):
            tenancy.get("acme")


def test_a_dedicated_data_source_takes_one_customer(tenancy: Tenancy) -> None:
    tenancy.create("acme", mapping={"shop": "own"})
    with refused(Refusal.DATA_SOURCE_DEDICATED):
        tenancy.create("initech", mapping={"shop": "own"})
    assert tenancy.create("acme", mapping={"shop": "own"}).via["shop"] == Via.OWN
    tenancy.update("acme", mapping={"shop": "main"})
    assert tenancy.create("initech", mapping={"shop": "own"}).via["shop"] == Via.OWN


def test_a_customer_is_of_its_group_alone(tenancy: Tenancy) -> None:
    made = tenancy.create("acme")
    for name in (made.id, "provided:acme"):
        assert tenancy.customers.get(PRODUCTION, name).id == made.id
        with refused(Refusal.NOT_FOUND):
            tenancy.customers.get(TESTING, name)
        with refused(Refusal.NOT_FOUND):
            tenancy.customers.update(TESTING, name, CustomerChange(name="Mine"), actor=ACTOR)
        with refused(Refusal.NOT_FOUND):
            tenancy.customers.delete(TESTING, name, actor=ACTOR)


def test_children_inherit_from_the_nearest_above(tenancy: Tenancy) -> None:
    tenancy.create("top", mapping={"shop": "eu"})
    tenancy.create("middle", parent="provided:top")
    low = tenancy.create("low", parent="provided:middle")
    assert (low.parent_provided_id, low.via["shop"], tenancy.route("low")) == ("middle", Via.PARENT, "eu")
    tenancy.update("middle", mapping={"shop": "main"})
    assert (tenancy.route("low"), tenancy.route("top")) == ("main", "eu")
    tenancy.update("low", parent=None)
    assert tenancy.get("low").via["shop"] == Via.DEFAULT


def test_no_data_source_gets_two_customers_of_one_provided_id(tenancy: Tenancy) -> None:
    tenancy.create("acme", mapping={"desk": "desk"})
    tenancy.create("low", parent="provided:acme")
    for name in ("acme", "low"):
        tenancy.journalled(name, schema="desk")
    with refused(Refusal.DATA_SOURCE_CONFLICT):
        tenancy.create("acme", group=TESTING, mapping={"desk": "desk"})
    tenancy.create("top", group=TESTING)
    tenancy.create("low", group=TESTING, parent="provided:top")
    with refused(Refusal.DATA_SOURCE_CONFLICT):
        tenancy.update("top", group=TESTING, mapping={"desk": "desk"})


def test_parents_are_of_the_group_at_most_three_and_never_a_circle(tenancy: Tenancy) -> None:
    above = None
    for name in ("a", "b", "c", "d"):
        tenancy.create(name, parent=above)
        above = f"provided:{name}"
    tenancy.create("elsewhere", group=TESTING)
    with refused(Refusal.PARENT_UNFIT):
        tenancy.create("e", parent="provided:d")
    for name, parent in (("a", "a"), ("a", "d"), ("b", "elsewhere"), ("b", "nobody")):
        with refused(Refusal.PARENT_UNFIT):
            tenancy.update(name, parent=f"provided:{parent}")
    tenancy.create("root")
    with refused(Refusal.PARENT_UNFIT):
        tenancy.update("a", parent="provided:root")
    tenancy.update("b", parent="provided:root")


def test_a_binding_without_records_changes_at_once_with_a_new_epoch(tenancy: Tenancy) -> None:
    tenancy.create("acme", mapping={"shop": "eu"})
    before = tenancy.version()
    tenancy.update("acme", mapping={"shop": "main"})
    assert (tenancy.route("acme"), tenancy.epoch("acme")) == ("main", 2)
    assert tenancy.version() > before
    tenancy.update("acme", mapping={"shop": "main"})
    assert tenancy.epoch("acme") == 2
    with refused(Refusal.NOT_FOUND):
        tenancy.update("acme", unbound=("nowhere",))
    assert tenancy.update("acme", unbound=("shop",)).mapping == {}


def test_each_change_of_routing_is_another_version(tenancy: Tenancy) -> None:
    """By which who remembers a route, or has resolved a page, knows that it is another one now."""
    tenancy.create("above", mapping={"shop": "eu"})
    tenancy.create("acme")
    acme = tenancy.get("acme").id
    seen = [tenancy.version()]
    for change in (
        lambda: tenancy.update("acme", mapping={"shop": "eu"}),
        lambda: tenancy.update("acme", unbound=("shop",)),
        lambda: tenancy.update("acme", parent="provided:above"),
        lambda: tenancy.update("acme", provided_id="acme 2"),
        lambda: tenancy.create("below", parent="provided:above"),
        lambda: tenancy.moves.start(acme, "shop", DataSourceId("main"), actor=ACTOR),
        lambda: tenancy.moves.switch(acme, "shop", DataSourceId("eu"), actor=ACTOR),
        lambda: tenancy.data_sources.set_default(TESTING, "shop", "test", actor=ACTOR),
        lambda: tenancy.data_sources.disable("own", actor=ACTOR, within=None),
        lambda: tenancy.data_sources.activate("own", actor=ACTOR, within=None),
        lambda: tenancy.data_sources.drain("own", to=None, actor=ACTOR, within=None),
        lambda: tenancy.customers.delete(PRODUCTION, acme, actor=ACTOR),
    ):
        change()
        seen.append(tenancy.version())
        assert seen[-1] > seen[-2], change
    tenancy.create("free")
    tenancy.update("free", name="Another name")
    assert tenancy.version() == seen[-1]


def test_no_change_leads_a_customer_away_from_its_records(tenancy: Tenancy) -> None:
    tenancy.create("top", mapping={"shop": "eu"})
    tenancy.create("low", parent="provided:top")
    tenancy.create("acme")
    assert (tenancy.journalled("low"), tenancy.journalled("acme")) == ("eu", "main")
    with refused(Refusal.CUSTOMER_HAS_RECORDS):
        tenancy.update("acme", mapping={"shop": "eu"})
    with refused(Refusal.CUSTOMER_HAS_RECORDS):
        tenancy.update("low", parent=None)
    with refused(Refusal.CUSTOMER_HAS_RECORDS):
        tenancy.update("top", mapping={"shop": "main"})
    with refused(Refusal.CUSTOMER_HAS_RECORDS):
        tenancy.update("top", unbound=("shop",))
    with refused(Refusal.CUSTOMER_HAS_RECORDS):
        tenancy.update("acme", provided_id="acme2")
    assert (tenancy.route("low"), tenancy.route("acme")) == ("eu", "main")
    assert tenancy.update("acme", mapping={"shop": "main"}).pinned == ()
    assert tenancy.update("acme", unbound=("shop",)).pinned == ("shop",)
    assert tenancy.epoch("acme") == 1


def test_a_pinned_default_is_the_customers_own(tenancy: Tenancy) -> None:
    tenancy.create("acme")
    tenancy.journalled("acme")
    view = tenancy.get("acme")
    assert (view.via["shop"], view.pinned, view.mapping["shop"].id) == (Via.OWN, ("shop",), "main")


def test_a_provided_id_changes_while_there_are_no_records(tenancy: Tenancy) -> None:
    tenancy.create("acme")
    tenancy.create("other")
    assert tenancy.update("acme", provided_id="acme2").provided_id == "acme2"
    with refused(Refusal.CUSTOMER_EXISTS):
        tenancy.update("acme2", provided_id="other")


def test_what_the_config_defines_is_read_only(tenancy: Tenancy) -> None:
    assert tenancy.get("globex").origin == "config"
    with refused(Refusal.OWNED_BY_CONFIG):
        tenancy.update("globex", name="Mine")
    with refused(Refusal.OWNED_BY_CONFIG):
        tenancy.update("globex", mapping={"shop": "main"})
    with refused(Refusal.OWNED_BY_CONFIG):
        tenancy.customers.delete(PRODUCTION, "provided:globex", actor=ACTOR)


def test_a_deleted_customer_is_gone_and_what_it_has_is_dropped(tenancy: Tenancy) -> None:
    acme = tenancy.create("acme")
    tenancy.journalled("acme")
    tenancy.control.journalled(rows())
    tenancy.create("low", parent="provided:acme")
    with refused(Refusal.CUSTOMER_HAS_CHILDREN):
        tenancy.customers.delete(PRODUCTION, acme.id, actor=ACTOR)
    assert tenancy.customers.delete(PRODUCTION, "provided:low", actor=ACTOR) == []
    assert tenancy.customers.delete(PRODUCTION, acme.id, actor=ACTOR) == [("main", "users")]
    assert tenancy.control.count("batch", "kind = 'drop' AND data_source_id = 'main'") == 1
    assert tenancy.control.count("residence") == 0
    with refused(Refusal.NOT_FOUND):
        tenancy.get("acme")


def test_a_list_comes_in_pages(tenancy: Tenancy) -> None:
    names = [f"c{number:02}" for number in range(7)]
    for name in names:
        tenancy.create(name, mapping={"shop": "eu"})
    tenancy.create("elsewhere", group=TESTING)
    seen: list[str] = []
    after = None
    while True:
        page = tenancy.customers.list(PRODUCTION, limit=3, after=after)
        seen += [view.provided_id for view in page.items]
        after = page.next
        if after is None:
            break
    assert seen == [*names, "globex"]
    for wrong in ("", "é", "====", "a", cursor_of("x\0y")):
        with refused(Refusal.INVALID):
            tenancy.customers.list(PRODUCTION, limit=3, after=wrong)


def test_a_preview_tells_who_would_be_led_elsewhere_and_changes_nothing(tenancy: Tenancy) -> None:
    tenancy.create("top", mapping={"shop": "eu"})
    for name in ("low", "new"):
        tenancy.create(name, parent="provided:top")
    tenancy.journalled("low")
    before = tenancy.version()
    change = CustomerChange(asked=Asked(data_source_id="main"))
    impact = tenancy.customers.foresee(PRODUCTION, "provided:top", change)
    assert (impact.changing, impact.held, impact.staying) == (2, 1, 0)
    assert [(one.customer, one.before, one.after, one.has_records) for one in impact.led] == [
        ("low", "eu", "main", True),
        ("new", "eu", "main", False),
        ("top", "eu", "main", False),
    ]
    assert (tenancy.route("top"), tenancy.version()) == ("eu", before)


@pytest.mark.parametrize("action", ["create", "update", "delete"])
def test_what_was_done_and_what_was_refused_is_in_the_audit(tenancy: Tenancy, action: str) -> None:
    tenancy.create("acme", mapping={"shop": "eu"})
    if action == "create":
        with refused(Refusal.CUSTOMER_EXISTS):
            tenancy.create("acme", mapping={"shop": "main"})
    elif action == "update":
        tenancy.update("acme", mapping={"shop": "main"})
        with refused(Refusal.NOT_FOUND):
            tenancy.update("acme", mapping={"shop": "none"})
    else:
        tenancy.customers.delete(PRODUCTION, "provided:acme", actor=ACTOR)
        with refused(Refusal.NOT_FOUND):
            tenancy.customers.delete(PRODUCTION, "provided:acme", actor=ACTOR)
    lines = [entry.line for entry in tenancy.audited()]
    assert (lines[0].action, lines[0].outcome, lines[0].actor) == (f"customer.{action}", "refused", ACTOR)
    assert lines[0].detail["code"] in {Refusal.CUSTOMER_EXISTS, Refusal.NOT_FOUND}
    assert (lines[1].action, lines[1].outcome) == (f"customer.{action}", "done")
    assert lines[1].customer == "acme"
    assert tenancy.audited(visibility_group=TESTING) == ()
    assert tenancy.audited(visibility_group=PRODUCTION, customer="acme")
