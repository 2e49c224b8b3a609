"""Wrong config directories: each fault is one exact line, and all faults come at once.

What is expected of each case is in `wrong_definitions.txt`, under the rule that the case shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace.definition.loader import load
from headrace.errors import ConfigurationError
from tests.unit.definition_project import ENVIRON, FILES, REMOVED, changed, written


@dataclass(frozen=True)
class Case:
    rule: str
    changes: Mapping[str, Any]


def amount(**changes: Any) -> dict[str, Any]:
    return {"type": "decimal", "aggregation": "sum", "column": "amount"} | changes


TOTAL = "sources/purchases:properties.total_spent"
LAST = "sources/purchases:properties.last_item"
FILTERS = f"{LAST}.filters"
SQLITE_READ = {"type": "sqlite", "url": "sqlite:///./other.db", "read_url": "sqlite:///./other.db"}
OTHER_STORE = FILES["data_sources/main"] | {"provided_id": "other", "url": "${OTHER_URL}", "default_for": []}
CSV = {"name": "CSV", "type": "files", "customer": "globex"}
CHAIN = {
    "name": "Chain",
    "model": "users",
    "app": "shop_db",
    "table": "t",
    "key": ["id"],
    "properties": {},
}

CASES = [
    # files
    Case("invalid JSON is told by line and column", {"models/users": '{"name": "Users",\n "schema" "shop"}'}),
    Case(
        "a key written twice is told, at any depth",
        {"models/users": '{"name": "A", "name": "B", "schema": "shop"}', "schemas/shop": '{"name": "S"}'},
    ),
    Case("a file that holds no object", {"models/users": "[1]"}),
    Case("nested without end", {"models/users": '{"name": ' + "[" * 5000}),
    Case("a number that JSON has not", {"models/users": '{"name": NaN}'}),
    Case(
        "a file name that is no id",
        {"models/Users.json": {"name": "U", "schema": "shop"}, "models/users.yaml": ""},
    ),
    Case("an unknown kind", {"source/users": {}}),
    Case("a definition outside of its kind", {"users.json": {}}),
    # keys and values
    Case(
        "an unknown key is one fault, with what was meant",
        {"sources/users:modelx": "users", "sources/users:model": REMOVED},
    ),
    Case("an unknown key like no other lists what there is", {"models/users:zzz": 1}),
    Case(
        "an unknown key deep inside",
        {
            f"{FILTERS}": [{"columnx": "state", "op": "eq", "value": "paid"}],
            "sources/users:schedule.everyx": "1m",
            "sources/users:schedule.every": REMOVED,
        },
    ),
    Case("a missing key says what it is", {"apps/shop_db:url": REMOVED, "sources/users:key": REMOVED}),
    Case(
        "a value of a wrong kind",
        {
            "apps/shop_db:name": 7,
            "sources/users:schedule.paused": "yes",
            "sources/users:schedule.page_rows": "9",
            "sources/purchases:key": "id",
        },
    ),
    Case(
        "an unknown type, with what was meant",
        {"apps/shop_db:type": "postgresql", f"{TOTAL}.type": "int", "data_sources/main:type": "mysql"},
    ),
    Case("primary is true or false", {"sources/purchases:primary": "no"}),
    # references
    Case(
        "references that lead nowhere",
        {
            "sources/users:app": "shop_bd",
            "models/users:schema": "shpo",
            "sources/accounts:model": "user",
            "customers/acme:data_sources": {"shop": "man"},
            "apps/shop_db:customer": "acmee",
            "data_sources/main:visibility_groups": ["staging"],
            "data_sources/main:default_for": REMOVED,
        },
    ),
    Case("a broken file still exists", {"models/users": "{"}),
    # visibility groups
    Case(
        "without a visibility group one is asked for",
        {"visibility_groups/production": REMOVED, "data_sources/main:default_for": REMOVED},
    ),
    Case(
        "with several visibility groups each must be named",
        {"visibility_groups/testing": {"name": "T"}, "data_sources/main:visibility_groups": ["production"]},
    ),
    Case(
        "a channel in a database that notifies nobody",
        {
            "apps/shop_db:type": "mysql",
            "apps/shop_db:url": "mysql://h/d",
            "sources/users:schedule.listen": "users",
        },
    ),
    # models
    Case(
        "two primaries in a model",
        {"sources/accounts": FILES["sources/users"] | {"properties": {}, "key": ["aid"]}},
    ),
    Case("a model without primary", {"models/accounts": {"name": "Accounts", "schema": "shop"}}),
    Case(
        "a property name twice in a model",
        {
            "sources/accounts:properties.email": {"type": "string", "column": "name"},
            "sources/purchases:properties.User_ID": {"type": "integer", "column": "x"},
        },
    ),
    Case(
        "a key column whose name is taken or reserved",
        {
            "sources/users:key": ["email_hash", "_id"],
            "sources/users:properties.email_hash": {"type": "string", "column": "hash"},
        },
    ),
    Case(
        "reserved and long names",
        {
            "sources/users:properties._customer_id": {"type": "string", "column": "c"},
            "sources/users:properties." + "n" * 64: {"type": "string", "column": "c" * 64},
        },
    ),
    Case(
        "mapping to an unknown property, or of its own source",
        {"sources/purchases:mapping": {"buyer_id": "user"}, "sources/accounts:mapping": {"id": "account"}},
    ),
    Case(
        "a mapping is one column to one property",
        {"sources/purchases:mapping": {"a": "user_id", "b": "email"}, "sources/accounts:mapping": {}},
    ),
    Case(
        "mappings in a circle",
        {
            "sources/a": CHAIN
            | {"mapping": {"x": "of_b"}, "properties": {"of_a": {"type": "integer", "column": "y"}}},
            "sources/b": CHAIN
            | {"mapping": {"x": "of_a"}, "properties": {"of_b": {"type": "integer", "column": "y"}}},
        },
    ),
    Case(
        "mapping to json",
        {
            "sources/users:properties.tags": {"type": "json", "column": "tags"},
            "sources/accounts:mapping": {"id": "tags"},
        },
    ),
    # sources
    Case(
        "a primary source has no mapping, aggregation or filter",
        {
            "sources/users:mapping": {"a": "b"},
            "sources/users:properties.email.aggregation": "max",
            "sources/users:properties.email.filters": [],
        },
    ),
    Case("app and apps, both and none", {"sources/users:apps": ["crm_db"], "sources/purchases:app": REMOVED}),
    Case(
        "table and query, both and none",
        {"sources/users:query": "SELECT 1", "sources/purchases:table": REMOVED},
    ),
    Case("a table of three parts", {"sources/users:table": "db.public.users"}),
    Case(
        "files have no queries, and lie in their directory",
        {
            "apps/shop_db:type": "files",
            "apps/shop_db:url": "file:///var/exports",
            "sources/users:table": "../users.csv",
            "sources/purchases:table": "2026\\purchases.csv",
        },
    ),
    Case("a URL of files that names no directory", {"apps/crm_db": CSV | {"url": "file://host/exports"}}),
    Case("a query that is not one SELECT", {"sources/accounts:query": "SELECT 1; SELECT 2"}),
    Case(
        "a query that writes",
        {"sources/accounts:query": "WITH gone AS (DELETE FROM t RETURNING id) SELECT * FROM gone"},
    ),
    Case("a query that is no SELECT", {"sources/accounts:query": "DELETE FROM accounts"}),
    Case("a query that is no SQL", {"sources/accounts:query": "SELECT FROM WHERE ("}),
    Case("a query that locks", {"sources/accounts:query": "SELECT id FROM accounts FOR UPDATE"}),
    Case(
        "an empty key, a repeated column, a repeated app",
        {
            "sources/users:key": [],
            "sources/purchases:key": ["id", "id"],
            "sources/accounts:apps": ["shop_db", "shop_db"],
            "sources/accounts:app": REMOVED,
        },
    ),
    Case(
        "two apps of a source with one customer",
        {
            "apps/crm_db:customer": "acme",
            "sources/users:apps": ["shop_db", "crm_db"],
            "sources/users:app": REMOVED,
        },
    ),
    Case(
        "two apps of a source without a customer",
        {
            "apps/crm_db:customer": REMOVED,
            "apps/shop_db:customer": REMOVED,
            "sources/users:apps": ["shop_db", "crm_db"],
            "sources/users:app": REMOVED,
        },
    ),
    Case(
        "with apps there is no customer column",
        {
            "sources/users:apps": ["shop_db", "crm_db"],
            "sources/users:app": REMOVED,
            "sources/users:customer": {"column": "tenant"},
        },
    ),
    Case(
        "a customer is a value or a column",
        {
            "sources/users:customer": {"value": "acme", "column": "tenant"},
            "sources/purchases:customer": "acme",
        },
    ),
    # schedules
    Case(
        "a bad cron line",
        {
            "sources/users:schedule": {"cron": "61 * * * *"},
            "sources/purchases:schedule": {"cron": "0 0 30 2 *"},
        },
    ),
    Case(
        "a bad duration",
        {
            "sources/users:schedule.every": "soon",
            "sources/purchases:schedule.every": "500ms",
            "sources/purchases:schedule.reconcile_every": 60,
        },
    ),
    Case("every and cron", {"sources/users:schedule.cron": "* * * * *"}),
    Case("a clock without a cursor", {"sources/users:schedule.cursor": REMOVED}),
    Case(
        "clocks, deletes and zones that are not",
        {
            "sources/users:schedule.clock": "databasex",
            "sources/users:schedule.deletes": {"columnx": "gone"},
            "sources/users:schedule.time_zone": "Europe/Berlni",
            "sources/purchases:schedule.reconcile": "ful",
        },
    ),
    # aggregations
    Case(
        "a type that an aggregation cannot have",
        {
            TOTAL: amount(type="string"),
            f"{LAST}.type": "json",
            "sources/purchases:properties.purchase_count.type": "decimal",
        },
    ),
    Case(
        "average, list, min and max have their types",
        {
            TOTAL: amount(aggregation="average", type="integer"),
            LAST: amount(aggregation="list"),
            "sources/purchases:properties.purchase_count": amount(aggregation="max", type="json"),
        },
    ),
    Case(
        "most_recent needs order_by, others need none, and all but count a column",
        {
            f"{LAST}.order_by": REMOVED,
            f"{TOTAL}.order_by": "at",
            "sources/accounts:properties.account.column": REMOVED,
        },
    ),
    # filters
    Case(
        "in needs a list, eq one value, exists none",
        {
            FILTERS: [
                {"column": "s", "op": "in", "value": "paid"},
                {"column": "s", "op": "eq", "value": ["a"]},
                {"column": "s", "op": "exists", "value": 1},
                {"column": "s", "op": "ne"},
                {"column": "s", "op": "in", "value": []},
                {"any": []},
            ]
        },
    ),
    Case(
        "a filter's value fits its column's type",
        {
            FILTERS: [
                {"column": "amount", "op": "gt", "value": "much"},
                {"any": [{"column": "amount", "op": "contains", "value": "1"}]},
            ]
        },
    ),
    Case(
        "filters on json, booleans and integers",
        {
            FILTERS: [
                {"column": "meta", "op": "eq", "value": 1},
                {"column": "flag", "op": "gt", "value": True},
                {"column": "n", "op": "in", "value": [1, "x"]},
            ],
            "sources/purchases:properties.meta": {"type": "json", "column": "meta"},
            "sources/purchases:properties.flag": {"type": "boolean", "column": "flag"},
            "sources/purchases:properties.n": {"type": "integer", "column": "n"},
        },
    ),
    Case("an unknown operator", {FILTERS: [{"column": "s", "op": "equals", "value": "paid"}]}),
    # data sources
    Case(
        "two defaults for one visibility group and schema",
        {"data_sources/other": OTHER_STORE | {"default_for": ["production"]}},
    ),
    Case(
        "default for a group that it does not serve",
        {
            "visibility_groups/testing": {"name": "T"},
            "data_sources/main:visibility_groups": ["production"],
            "data_sources/main:default_for": ["production", "testing"],
            "apps/shop_db:visibility_group": "production",
            "apps/crm_db:visibility_group": "production",
            "customers/acme:visibility_group": "production",
            "customers/globex:visibility_group": "production",
        },
    ),
    Case(
        "two data sources share database and namespace",
        {"data_sources/other": OTHER_STORE | {"url": "${STORE_URL}"}},
    ),
    Case(
        "a store's file is an app's",
        {"data_sources/main": FILES["data_sources/main"] | {"type": "sqlite", "url": "sqlite:///./crm.db"}},
    ),
    Case(
        "a store's file is the control database",
        {
            "data_sources/main": FILES["data_sources/main"]
            | {"type": "sqlite", "url": "sqlite:///.headrace/control.db"}
        },
    ),
    Case(
        "two stores in one file",
        {
            "data_sources/main": FILES["data_sources/main"] | {"type": "sqlite", "url": "sqlite:///s.db"},
            "data_sources/other": OTHER_STORE | {"type": "sqlite", "url": "sqlite:///s.db", "namespace": "n"},
        },
    ),
    Case("a role for reading of SQLite", {"data_sources/other": OTHER_STORE | SQLITE_READ}),
    Case("a URL for reading of another type", {"data_sources/main:read_url": "mysql://reader@db/x"}),
    Case("a URL of another type", {"apps/crm_db:type": "postgres", "data_sources/main:type": "sqlite"}),
    Case(
        "a model whose name SQLite keeps",
        {
            "models/sqlite_users": {"name": "S", "schema": "shop"},
            "sources/more": FILES["sources/users"] | {"model": "sqlite_users"},
        },
    ),
    Case(
        "a customer of another group",
        {
            "visibility_groups/testing": {"name": "T"},
            "data_sources/main:visibility_groups": ["production"],
            "apps/shop_db:visibility_group": "production",
            "apps/crm_db:visibility_group": "testing",
            "customers/acme:visibility_group": "production",
            "customers/globex:visibility_group": "production",
        },
    ),
    Case("a namespace of the database", {"data_sources/main:namespace": "pg_catalog"}),
    Case(
        "a provided_id twice",
        {
            "data_sources/other": OTHER_STORE | {"provided_id": "main-1"},
            "customers/globex:provided_id": "acme",
        },
    ),
    # customers
    Case(
        "a data source of another schema",
        {"schemas/help": {"name": "Help"}, "customers/acme:data_sources": {"help": "main"}},
    ),
    Case(
        "parents in a circle, an unknown parent",
        {"customers/acme:parent": "globex", "customers/third": {"name": "T", "parent": "acne"}},
    ),
    Case(
        "a dedicated data source serves one customer",
        {"data_sources/main:isolation": "dedicated", "customers/globex:data_sources": {"shop": "main"}},
    ),
    Case(
        "more than three customers above one",
        {
            f"customers/c{number}": {"name": "C", "parent": f"c{number - 1}" if number else None}
            for number in range(5)
        },
    ),
    Case(
        "customers of one provided_id in one data source",
        {
            "visibility_groups/testing": {"name": "Testing"},
            "apps/shop_db:visibility_group": "production",
            "apps/crm_db:visibility_group": "production",
            "customers/acme:visibility_group": "production",
            "customers/globex:visibility_group": "production",
            "data_sources/main:visibility_groups": ["production", "testing"],
            "customers/acme_test": {
                "name": "Acme",
                "provided_id": "acme",
                "visibility_group": "testing",
                "data_sources": {"shop": "main"},
            },
        },
    ),
    Case(
        "rows that lead nowhere: no default",
        {"data_sources/main:default_for": REMOVED, "customers/acme:data_sources": REMOVED},
    ),
    Case(
        "rows that lead nowhere: no data source",
        {"data_sources/main": REMOVED, "customers/acme:data_sources": REMOVED},
    ),
    # secrets
    Case(
        "a missing secret is told by name",
        {"apps/shop_db:url": "${SHOP_ULR}", "apps/crm_db:url": "${file:/nowhere/secret}"},
    ),
    Case(
        "a secret reference that is none",
        {"apps/shop_db:url": "postgresql://${user name}@h/${SHOP", "apps/crm_db:url": "sqlite://"},
    ),
]


def lines_of(root: Path, changes: Mapping[str, Any]) -> list[str]:
    written(root, changed(changes))
    with pytest.raises(ConfigurationError) as raised:
        load(Path("config"), ENVIRON)
    return str(raised.value).splitlines()


def expected() -> dict[str, list[str]]:
    """Lines by rule."""
    sections = Path(__file__).with_name("wrong_definitions.txt").read_text(encoding="utf-8").split("# ")
    rules = (section.strip().splitlines() for section in sections if section.strip())
    return {rule: lines for rule, *lines in rules}


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.rule)
def test_each_fault_is_one_line_that_says_what_would_be_right(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lines_of(tmp_path, case.changes) == expected()[case.rule]


def test_every_expectation_has_its_case() -> None:
    rules = [case.rule for case in CASES]
    assert len(set(rules)) == len(rules)
    assert set(rules) == set(expected())


def test_all_faults_of_a_directory_come_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases that touch different things, together, give the lines of each."""
    monkeypatch.chdir(tmp_path)
    together = [
        "an unknown kind",
        "a type that an aggregation cannot have",
        "a bad cron line",
        "a provided_id twice",
        "parents in a circle, an unknown parent",
        "an unknown key like no other lists what there is",
        "a query that writes",
        "an unknown operator",
    ]
    changes = {place: value for c in CASES if c.rule in together for place, value in c.changes.items()}
    lines = sorted(line for rule in together for line in expected()[rule])
    assert sorted(lines_of(tmp_path, changes)) == lines


def test_no_fault_tells_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = [line for lines in expected().values() for line in lines]
    said += lines_of(
        tmp_path, {"apps/shop_db:type": "sqlite", "data_sources/main:url": "mysql://a:hunter2@h/d"}
    )
    assert not [line for line in said if "hunter2" in line]
