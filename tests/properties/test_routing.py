"""Routing against a model of twenty lines: the first step that answers decides, right or wrong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.routing import Route, RoutingTable, State, Target, Tenant, Via, resolve

GROUPS = ("production", "testing")
SCHEMAS = ("shop", "help")
SOURCES = ("d1", "d2", "d3", "d4")
NAMES = ("a", "b", "c", "d", "e", "f")

TARGETS = st.builds(
    Target,
    schema=st.sampled_from(SCHEMAS),
    visibility_groups=st.frozensets(st.sampled_from(GROUPS)),
    state=st.sampled_from(list(State)),
)
TENANTS = st.builds(
    Tenant,
    visibility_group=st.sampled_from(GROUPS),
    parent=st.none() | st.sampled_from(NAMES),
    bindings=st.dictionaries(st.sampled_from(SCHEMAS), st.sampled_from(SOURCES), max_size=1),
)
TABLES = st.builds(
    RoutingTable,
    customers=st.dictionaries(st.sampled_from(NAMES), TENANTS),
    data_sources=st.dictionaries(st.sampled_from(SOURCES), TARGETS),
    defaults=st.dictionaries(
        st.tuples(st.sampled_from(GROUPS), st.sampled_from(SCHEMAS)), st.sampled_from(SOURCES)
    ),
)


def model(customer: str, schema: str, table: RoutingTable) -> tuple[str | None, Via | None]:
    """What the specification says, written another way."""
    if customer not in table.customers:
        return None, None
    group = table.customers[customer].visibility_group
    line = [customer]
    while len(line) < 4:
        parent = table.customers[line[-1]].parent
        if parent not in table.customers or table.customers[parent].visibility_group != group:
            break
        line.append(parent)
    answers = [
        (table.customers[name].bindings[schema], Via.OWN if place == 0 else Via.PARENT)
        for place, name in enumerate(line)
        if schema in table.customers[name].bindings
    ]
    if (group, schema) in table.defaults:
        answers.append((table.defaults[group, schema], Via.DEFAULT))
    if not answers:
        return None, None
    chosen, via = answers[0]
    target = table.data_sources.get(chosen)
    serving = {State.ACTIVE} if via is Via.DEFAULT else {State.ACTIVE, State.DRAINING}
    fit = (
        target is not None
        and target.schema == schema
        and group in target.visibility_groups
        and target.state in serving
    )
    return (chosen if fit else None), via


@given(TABLES, st.sampled_from(NAMES), st.sampled_from(SCHEMAS))
def test_routes_are_those_of_the_model(table: RoutingTable, customer: str, schema: str) -> None:
    route = resolve(customer, schema, table)
    assert (route.data_source, route.via) == model(customer, schema, table)
    assert (route.data_source is None) == bool(route.refusal)


@given(TABLES, st.sampled_from(NAMES), st.sampled_from(SCHEMAS))
def test_a_wrong_binding_never_falls_back(table: RoutingTable, customer: str, schema: str) -> None:
    tenant = table.customers.get(customer)
    if tenant is not None and schema in tenant.bindings:
        assert resolve(customer, schema, table).data_source in {None, tenant.bindings[schema]}


def shop(**customers: Tenant) -> RoutingTable:
    target = Target(schema="shop", visibility_groups=frozenset({"production"}))
    sources = {"main": target, "big": target}
    return RoutingTable(customers=customers, data_sources=sources, defaults={("production", "shop"): "main"})


def tenant(parent: str | None = None, bound: str | None = None, group: str = "production") -> Tenant:
    bindings = {"shop": bound} if bound else {}
    return Tenant(visibility_group=group, parent=parent, bindings=bindings)


def route(table: RoutingTable, customer: str = "a") -> Route:
    return resolve(customer, "shop", table)


def test_the_trace_names_each_step() -> None:
    table = shop(a=tenant("b"), b=tenant("c"), c=tenant(bound="big"))
    found = route(table)
    assert (found.data_source, found.via) == ("big", Via.PARENT)
    assert found.trace == ("a: no binding", "b: no binding", "c: bound to big")


def test_an_ancestor_four_levels_up_passes_nothing_on() -> None:
    line = {"a": tenant("b"), "b": tenant("c"), "c": tenant("d"), "d": tenant("e"), "e": tenant(bound="big")}
    assert route(shop(**line)).via is Via.DEFAULT
    assert route(shop(**line), "b").via is Via.PARENT


def test_an_ancestor_of_another_group_passes_nothing_on() -> None:
    found = route(shop(a=tenant("b"), b=tenant(bound="big", group="testing")))
    assert (found.data_source, found.via) == ("main", Via.DEFAULT)
    assert "not of visibility group production" in found.trace[1]


def test_a_circle_of_parents_ends() -> None:
    assert route(shop(a=tenant("b"), b=tenant("a"))).via is Via.DEFAULT


def test_each_refusal_says_why() -> None:
    assert route(shop()).refusal == "there is no customer a"
    no_default = route(shop(a=tenant(group="testing")))
    assert no_default.refusal == "no binding and no default of (testing, shop)"
    assert route(shop(a=tenant(bound="gone"))).refusal == "data source gone does not exist"
    assert resolve(
        "a", "help", shop(a=Tenant(visibility_group="production", bindings={"help": "big"}))
    ).refusal == ("data source big is of schema shop")
    assert route(shop(a=tenant(bound="big", group="testing"))).refusal == (
        "data source big is not of visibility group testing"
    )


def test_a_data_source_that_drains_serves_what_is_bound_to_it_and_is_no_default() -> None:
    draining = Target(schema="shop", visibility_groups=frozenset({"production"}), state=State.DRAINING)
    table = RoutingTable(
        customers={"a": tenant(bound="main"), "b": tenant()},
        data_sources={"main": draining},
        defaults={("production", "shop"): "main"},
    )
    assert route(table).data_source == "main"
    assert route(table, "b").refusal == "data source main is draining"
