"""Definitions and facts become the shapes and plans that workers run by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.definition.compiled import Compiled, compile_definitions
from headrace.definition.loader import load
from headrace.domain.shape import Column, FilterClause, Mapping, SourceShape, shape_fingerprint
from headrace.domain.vocabulary import AppId, FilterOp, ModelId, PropertyType, SourceId
from headrace.ports import ColumnFacts, FeedPlan, Relation, TableFacts
from tests.unit.definition_project import ENVIRON, REMOVED, changed, written

USERS, PURCHASES, ACCOUNTS = SourceId("users"), SourceId("purchases"), SourceId("accounts")
MODEL, SHOP = ModelId("users"), AppId("shop_db")


def table(*, portable: bool = True, **types: str) -> TableFacts:
    columns = tuple(
        ColumnFacts(name=n, native_type=t, type=PropertyType(t), nullable=False, portable_order=portable)
        for n, t in types.items()
    )
    return TableFacts(columns=columns, primary_key=("id",), fingerprint="f")


FACTS = {
    USERS: table(id="integer", email="string", account_id="integer", updated_at="datetime"),
    PURCHASES: table(
        id="integer",
        buyer_id="integer",
        amount="decimal",
        item="string",
        bought_at="datetime",
        state="string",
        updated_at="datetime",
        gone_at="datetime",
        tenant="string",
        _rev="integer",
        Item="string",
    ),
    ACCOUNTS: table(id="integer", name="string"),
}


def compiled(root: Path, changes: dict[str, Any], facts: dict[SourceId, TableFacts]) -> Any:
    definitions = load(written(root, changed(changes)), ENVIRON)
    result, faults = compile_definitions(definitions, FACTS | facts)
    return result, [str(fault).partition("/config/")[2] for fault in faults]


def built(root: Path, changes: dict[str, Any] | None = None, **facts: TableFacts) -> Compiled:
    result, faults = compiled(root, changes or {}, {SourceId(k): v for k, v in facts.items()})
    assert faults == []
    assert isinstance(result, Compiled)
    return result


def purchases(root: Path, changes: dict[str, Any]) -> SourceShape:
    return (
        built(root, {f"sources/purchases:{k}": v for k, v in changes.items()}).models[MODEL].source(PURCHASES)
    )


def plan(root: Path, source: str, **changes: Any) -> FeedPlan:
    keys = {f"sources/{source}:{key}": value for key, value in changes.items()}
    return built(root, keys).feeds[SourceId(source), SHOP]


def columns(shape: SourceShape) -> list[tuple[str, str, str]]:
    return [(c.name, c.type.value, c.source_column) for c in shape.columns]


def test_a_primary_source_has_its_key_first_and_types_key_columns_without_property(tmp_path: Path) -> None:
    facts = table(id="integer", region="string", email="string", account_id="integer", updated_at="datetime")
    shape = built(tmp_path, {"sources/users:key": ["region", "id"]}, users=facts).models[MODEL].primary
    assert columns(shape) == [
        ("region", "string", "region"),
        ("user_id", "integer", "id"),
        ("email", "email", "email"),
        ("account_id", "integer", "account_id"),
    ]
    assert shape.key == shape.columns[:2]
    assert [p.name for p in shape.properties] == ["region", "user_id", "email", "account_id"]


def test_a_model_has_all_properties_key_first_and_sources_in_order_of_need(tmp_path: Path) -> None:
    chain = {
        "name": "Regions",
        "model": "users",
        "app": "shop_db",
        "table": "regions",
        "key": ["id"],
        "mapping": {"id": "account"},
        "properties": {"region": {"type": "string", "column": "name"}},
    }
    model = built(tmp_path, {"sources/a_regions": chain}, a_regions=FACTS[ACCOUNTS]).models[MODEL]
    assert [s.id for s in model.sources] == ["users", "accounts", "a_regions", "purchases"]
    names = ["user_id", "email", "account_id", "account", "region"]
    assert [c.name for c in model.columns] == [*names, "purchase_count", "total_spent", "last_item"]
    assert model.columns[3] == Column(name="account", type=PropertyType.STRING, source_column="account")
    regions = model.source("a_regions")
    assert regions.mapping == Mapping(column="id__string", property="account")
    assert columns(regions)[:2] == [("id", "integer", "id"), ("id__string", "string", "id")]


def test_staged_columns_are_key_mapping_properties_orders_and_filters(tmp_path: Path) -> None:
    shape = purchases(tmp_path, {})
    assert columns(shape) == [
        ("id", "integer", "id"),
        ("buyer_id", "integer", "buyer_id"),
        ("amount", "decimal", "amount"),
        ("item", "string", "item"),
        ("bought_at", "datetime", "bought_at"),
        ("state", "string", "state"),
    ]
    last = shape.properties[2]
    assert (last.column, last.order_by) == ("item", "bought_at")
    assert last.filters == ((FilterClause(column="state", op=FilterOp.EQ, values=("paid",)),),)


def test_a_column_read_as_two_types_is_staged_twice(tmp_path: Path) -> None:
    shape = purchases(
        tmp_path,
        {
            "properties.total_spent.type": "float",
            "properties.amounts": {"type": "json", "aggregation": "list", "column": "amount"},
            "properties.last_item.filters": [{"column": "id", "op": "in", "value": ["1", 2]}],
        },
    )
    assert [c for c in columns(shape) if c[2] in {"amount", "id"}] == [
        ("id", "integer", "id"),
        ("amount", "float", "amount"),
        ("amount__decimal", "decimal", "amount"),
        ("id__string", "string", "id"),
    ]
    by_name = {p.name: p for p in shape.properties}
    assert by_name["total_spent"].column == "amount"
    assert by_name["amounts"].column == "amount__decimal"
    assert by_name["last_item"].filters[0][0] == FilterClause(
        column="id__string", op=FilterOp.IN, values=("1", "2")
    )


def test_orders_and_filters_take_the_type_of_the_property_of_their_column(tmp_path: Path) -> None:
    filters = [
        {
            "any": [
                {"column": "bought_at", "op": "gt", "value": "2024-03-31T03:30"},
                {"column": "amount", "op": "lt", "value": 1.50},
            ]
        }
    ]
    shape = purchases(
        tmp_path,
        {
            "properties.bought_on": {"type": "datetime", "aggregation": "max", "column": "bought_at"},
            "properties.last_item.filters": filters,
            "schedule.time_zone": "Europe/Berlin",
        },
    )
    [group] = shape.properties[2].filters
    assert [c.values for c in group] == [("2024-03-31T01:30:00.000000Z",), ("1.5",)]
    assert [c for c in columns(shape) if c[2] == "bought_at"] == [("bought_at", "datetime", "bought_at")]


def test_staged_names_are_free_of_case_underscores_and_length(tmp_path: Path) -> None:
    long = "n" * 63
    facts = table(
        id="integer", buyer_id="integer", _rev="integer", item="string", Item="string", **{long: "decimal"}
    )
    changes = {
        "sources/purchases:key": ["_rev"],
        "sources/purchases:schedule": {},
        "sources/purchases:properties": {
            "a": {"type": "string", "aggregation": "max", "column": "item"},
            "b": {"type": "string", "aggregation": "max", "column": "Item"},
            "c": {"type": "decimal", "aggregation": "sum", "column": long},
            "d": {"type": "float", "aggregation": "sum", "column": long},
        },
    }
    shape = built(tmp_path, changes, purchases=facts).models[MODEL].source(PURCHASES)
    names = [c.name for c in shape.columns]
    assert names[:3] == ["c_rev", "buyer_id", "item"]
    assert len({n.casefold() for n in names}) == len(names)
    assert max(len(n.encode()) for n in names) <= 63
    assert [c.source_column for c in shape.columns] == ["_rev", "buyer_id", "item", "Item", long, long]


def test_count_of_rows_needs_no_column(tmp_path: Path) -> None:
    shape = purchases(tmp_path, {"properties.purchase_count.column": REMOVED})
    assert (shape.properties[0].column, shape.properties[0].aggregation) == (None, "count")


def test_a_plan_reads_every_column_it_needs_once(tmp_path: Path) -> None:
    found = plan(
        tmp_path,
        "purchases",
        customer={"column": "tenant"},
        unknown_customers="hold",
        schedule={
            "cursor": "updated_at",
            "deletes": {"column": "gone_at"},
            "page_rows": 7,
            "clock": "business",
        },
    )
    assert found.read.columns == (
        "id", "updated_at", "tenant", "gone_at", "buyer_id", "amount", "item", "bought_at", "state",
    )  # fmt: skip
    assert (found.read.key, found.read.cursor, found.read.page_rows) == (("id",), "updated_at", 7)
    assert (found.customer, found.customer_column, found.create_unknown_customers) == (None, "tenant", False)
    assert found.source.customer_in_column
    assert (found.deletes, found.deleted_column, found.clock) == ("column", "gone_at", "business")
    assert found.reconcile_full


def test_columns_by_which_rows_or_records_are_found_are_bounded_wherever_they_are_fed(tmp_path: Path) -> None:
    chain = {
        "name": "Regions", "model": "users", "app": "shop_db", "table": "regions", "key": ["id"],
        "mapping": {"name": "account"},
        "properties": {"regions": {"type": "integer", "aggregation": "count"}},
    }  # fmt: skip
    feeds = built(tmp_path, {"sources/regions": chain}, regions=FACTS[ACCOUNTS]).feeds
    assert {source: plan.indexed for (source, _), plan in feeds.items()} == {
        USERS: ("user_id", "account_id"),
        PURCHASES: ("buyer_id",),
        ACCOUNTS: ("id", "name"),
        SourceId("regions"): ("name",),
    }


def test_a_plan_says_where_rows_belong_and_what_the_clock_promises(tmp_path: Path) -> None:
    found = plan(tmp_path, "purchases")
    assert (found.customer, found.visibility_group, found.schema) == ("acme", "production", "shop")
    assert (found.clock, found.deletes, found.deleted_column) == ("skew:5s", "reconcile", None)
    assert (found.reconcile_full, found.create_unknown_customers, found.chunkable) == (False, True, True)
    assert found.shape_fingerprint == shape_fingerprint(found.source)
    assert found.read.relation == Relation(table="public.purchases")


def test_a_query_is_read_without_the_semicolon_at_its_end(tmp_path: Path) -> None:
    found = plan(tmp_path, "accounts", query=" SELECT id, name FROM accounts ;\n")
    assert found.read.relation == Relation(query="SELECT id, name FROM accounts")
    assert (found.read.cursor, found.clock, found.reconcile_full) == (None, "undeclared", True)


def test_apps_give_a_feed_each_with_its_own_customer(tmp_path: Path) -> None:
    changes = {"sources/users:app": REMOVED, "sources/users:apps": ["shop_db", "crm_db"]}
    feeds = built(tmp_path, changes).feeds
    assert [(a, p.customer) for (s, a), p in feeds.items() if s == USERS] == [
        ("shop_db", "acme"),
        ("crm_db", "globex"),
    ]
    assert all(p.source.many_apps is (s == USERS) for (s, _), p in feeds.items())


@pytest.mark.parametrize(
    ("property_type", "facts", "chunkable"),
    [
        ("integer", table(id="integer"), True),
        ("email", table(id="string"), True),
        ("datetime", table(id="datetime"), True),
        ("integer", table(id="integer", portable=False), False),
        ("string", table(id="integer"), False),
        ("integer", table(id="string"), False),
        ("date", table(id="datetime"), False),
        ("decimal", table(id="decimal"), False),
    ],
)
def test_keys_are_cut_in_chunks_only_where_both_sides_order_them_alike(
    property_type: str, facts: TableFacts, chunkable: bool, tmp_path: Path
) -> None:
    properties = {
        "user_id": {"type": property_type, "column": "id"},
        "account_id": {"type": "integer", "column": "id"},
    }
    changes = {"sources/users:properties": properties, "sources/users:schedule": {}}
    assert built(tmp_path, changes, users=facts).feeds[USERS, SHOP].chunkable is chunkable


def test_local_times_are_no_chunk_keys(tmp_path: Path) -> None:
    changes = {
        "sources/accounts:schedule": {"time_zone": "Europe/Berlin"},
        "sources/accounts:key": ["at"],
    }
    facts = table(id="integer", at="datetime", name="string")
    assert not built(tmp_path, changes, accounts=facts).feeds[ACCOUNTS, SHOP].chunkable


def test_compiled_definitions_survive_json(tmp_path: Path) -> None:
    result = built(tmp_path)
    text = result.dump_json()
    assert Compiled.load_json(text) == result
    assert Compiled.load_json(text).dump_json() == text
    assert "hunter2" not in text


def test_a_source_that_its_table_does_not_fit_is_left_out_alone(tmp_path: Path) -> None:
    facts = {PURCHASES: table(id="integer", buyer="integer", amount="decimal", updated_at="boolean")}
    result, faults = compiled(tmp_path, {}, facts)
    assert [s.id for s in result.models[MODEL].sources] == ["users", "accounts"]
    assert set(result.feeds) == {(USERS, SHOP), (ACCOUNTS, SHOP)}
    file, there = "sources/purchases.json", "in table public.purchases"
    listed = "there are amount, buyer, id, updated_at"
    last = f"{file}:properties.last_item"
    unordered = '"updated_at" is boolean, which cannot say when a row changed'
    assert faults == [
        f"{file}:schedule.cursor: {unordered}; name a time or a number that grows",
        f'{file}:mapping.buyer_id: no column "buyer_id" {there}; did you mean "buyer"?',
        f'{last}.column: no column "item" {there}; {listed}',
        f'{last}.order_by: no column "bought_at" {there}; {listed}',
        f'{last}.filters[0]: no column "state" {there}; {listed}',
    ]


def test_what_needs_a_source_that_is_left_out_is_left_out_too(tmp_path: Path) -> None:
    chain = changed({})["sources/accounts"] | {"mapping": {"id": "account"}, "properties": {}}
    facts = {ACCOUNTS: table(id="integer", title="string"), SourceId("more"): FACTS[ACCOUNTS]}
    result, faults = compiled(tmp_path / "secondary", {"sources/more": chain}, facts)
    assert [s.id for s in result.models[MODEL].sources] == ["users", "purchases"]
    assert faults == [
        'sources/accounts.json:properties.account.column: no column "name" in the query; there are id, title',
        'sources/more.json:mapping.id: left out, as the source that feeds "account" is',
    ]

    result, faults = compiled(
        tmp_path / "primary", {}, {USERS: table(id="integer", email="string", updated_at="datetime")}
    )
    assert (result.models, result.feeds) == ({}, {})
    there = "in table public.users; there are email, id, updated_at"
    assert faults == [
        f'sources/users.json:properties.account_id.column: no column "account_id" {there}',
        "models/users.json: left out, as its primary source users is",
    ]


def test_a_source_without_facts_is_left_out(tmp_path: Path) -> None:
    definitions = load(written(tmp_path, changed({})), ENVIRON)
    result, faults = compile_definitions(definitions, {i: f for i, f in FACTS.items() if i != ACCOUNTS})
    assert set(result.feeds) == {(USERS, SHOP), (PURCHASES, SHOP)}
    assert faults == ()


def test_json_is_no_key(tmp_path: Path) -> None:
    facts = {ACCOUNTS: table(id="json", name="string")}
    _, faults = compiled(tmp_path, {}, facts)
    mend = "name a column that identifies a row"
    assert faults == [f'sources/accounts.json:key[0]: "id" is json, which cannot be compared; {mend}']


def test_a_changed_definition_changes_the_fingerprint_of_its_source_alone(tmp_path: Path) -> None:
    before = built(tmp_path / "before").feeds
    after = built(tmp_path / "after", {"sources/purchases:properties.total_spent.type": "float"}).feeds
    assert {s for (s, a) in before if before[s, a].shape_fingerprint != after[s, a].shape_fingerprint} == {
        PURCHASES
    }
