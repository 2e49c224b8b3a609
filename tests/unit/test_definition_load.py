"""What `load` returns for right directories, and how `plan` compares them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.definition.definitions import Definitions
from headrace.definition.difference import Difference, differences
from headrace.definition.loader import from_bodies, load
from headrace.domain.vocabulary import AppId, DataSourceId, ModelId, SourceId
from headrace.errors import ConfigurationError
from tests.unit.definition_project import ENVIRON, REMOVED, changed, written

USERS, PURCHASES, ACCOUNTS = SourceId("users"), SourceId("purchases"), SourceId("accounts")


def loaded(root: Path, changes: dict[str, Any] | None = None) -> Definitions:
    return load(written(root, changed(changes or {})), ENVIRON)


def test_what_may_be_implied_is_filled_in(tmp_path: Path) -> None:
    definitions = loaded(tmp_path, {"data_sources/main:provided_id": REMOVED})
    assert definitions.apps[AppId("shop_db")].visibility_group == "production"
    main = definitions.data_sources[DataSourceId("main")]
    assert (main.visibility_groups, main.namespace, main.provided_id) == (("production",), "headrace", "main")
    assert definitions.customers["acme"].provided_id == "acme"
    assert definitions.bodies["apps"]["shop_db"]["visibility_group"] == "production"


def test_bodies_make_the_same_definitions_again(tmp_path: Path) -> None:
    definitions = loaded(tmp_path, {"models/users:$schema": "../.schema/models.json"})
    stored = json.loads(json.dumps(definitions.bodies))
    again = from_bodies(stored, definitions.directory)
    assert again.sources == definitions.sources
    assert again.data_sources == definitions.data_sources
    assert again.bodies == definitions.bodies
    assert "$schema" not in again.bodies["models"]["users"]


def test_reconcile_defaults_follow_the_clock(tmp_path: Path) -> None:
    def schedule(**keys: Any) -> tuple[str, bool, str]:
        found = loaded(tmp_path, {"sources/users:schedule": {"cursor": "c", **keys}}).sources[USERS].schedule
        return found.clock_name, found.reconcile_full, str(found.reconciled_every)

    assert schedule(clock="database") == ("database", False, "1h")
    assert schedule(clock={"skew": "90s"}) == ("skew:90s", False, "1h")
    assert schedule(clock="business") == ("business", True, "1d")
    assert schedule() == ("undeclared", True, "1d")
    assert schedule(clock="database", reconcile="full") == ("database", True, "1d")
    assert schedule(reconcile="keys", reconcile_every="5m") == ("undeclared", False, "5m")


def test_a_source_without_schedule_is_read_only_when_asked(tmp_path: Path) -> None:
    schedule = loaded(tmp_path).sources[ACCOUNTS].schedule
    assert (schedule.every, schedule.cron, schedule.cursor) == (None, None, None)
    assert (schedule.deletes, schedule.page_rows, schedule.paused) == ("reconcile", 50_000, False)


def test_a_feed_has_its_apps_customer_unless_the_source_says_another(tmp_path: Path) -> None:
    shop, crm = AppId("shop_db"), AppId("crm_db")
    definitions = loaded(
        tmp_path,
        {
            "customers/globex:provided_id": "G-1",
            "sources/users:apps": ["shop_db", "crm_db"],
            "sources/users:app": REMOVED,
            "sources/purchases:customer": {"column": "tenant"},
            "sources/accounts:customer": {"value": "globex"},
        },
    )
    feeds = [(ACCOUNTS, shop), (PURCHASES, shop), (USERS, shop), (USERS, crm)]
    assert list(definitions.feeds()) == feeds
    assert [definitions.customer_of(*feed) for feed in feeds] == ["G-1", None, "acme", "G-1"]


def test_without_customer_files_customers_come_from_rows(tmp_path: Path) -> None:
    definitions = loaded(
        tmp_path,
        {"customers/acme": REMOVED, "customers/globex": REMOVED, "apps/crm_db:customer": REMOVED},
    )
    assert definitions.customer_of(USERS, AppId("shop_db")) == "acme"
    assert definitions.customer_of(PURCHASES, AppId("shop_db")) == "acme"
    assert definitions.primary_of(ModelId("users")) == USERS


def test_beside_customers_with_files_there_may_be_others(tmp_path: Path) -> None:
    definitions = loaded(tmp_path, {"apps/shop_db:customer": "hooli"})
    assert definitions.customer_of(USERS, AppId("shop_db")) == "hooli"


def test_rows_whose_customer_the_api_may_bind_need_no_default(tmp_path: Path) -> None:
    without = {
        "data_sources/main:default_for": REMOVED,
        "customers/acme": REMOVED,
        "customers/globex": REMOVED,
    }
    assert loaded(tmp_path / "named", without).apps
    column = {f"sources/{s}:customer": {"column": "tenant"} for s in ("users", "purchases", "accounts")}
    nobody = {f"apps/{a}:customer": REMOVED for a in ("shop_db", "crm_db")}
    assert loaded(tmp_path / "column", without | column | nobody).apps
    with pytest.raises(ConfigurationError, match="customer default of source accounts has no data source"):
        loaded(tmp_path / "nobody", without | nobody)


def test_a_child_inherits_its_parents_binding(tmp_path: Path) -> None:
    changes = {"data_sources/main:default_for": REMOVED, "apps/shop_db:customer": "globex"}
    assert loaded(tmp_path, changes).customers["globex"].parent == "acme"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM accounts;",
        "WITH a AS (SELECT 1 AS id) SELECT id FROM a",
        "SELECT id FROM a UNION ALL SELECT id FROM b",
        "SELECT DISTINCT ON (id) id, payload->>'x' AS x FROM a ORDER BY id, at DESC -- newest",
        "SELECT id, 'DELETE; me' AS note FROM a WHERE b = ANY ('{1,2}'::int[])",
    ],
)
def test_one_select_of_any_form_is_a_query(query: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, {"sources/accounts:query": query}).sources[ACCOUNTS].query == query


def test_filters_on_text_without_a_property_take_any_scalar(tmp_path: Path) -> None:
    filters = [
        {"column": "state", "op": "in", "value": ["paid", 1, True]},
        {"any": [{"column": "note", "op": "exists"}, {"column": "amount", "op": "gte", "value": "0.50"}]},
        {"column": "note", "op": "not_exists", "value": None},
    ]
    source = loaded(tmp_path, {"sources/purchases:properties.last_item.filters": filters}).sources[PURCHASES]
    assert len(source.properties["last_item"].groups) == 3  # type: ignore[union-attr]


def test_hidden_files_and_notes_are_left_alone(tmp_path: Path) -> None:
    extra = {
        ".schema/apps.json": "{}",
        "models/README.md": "notes",
        "models/.keep.json": "",
        "README.md": "x",
    }
    assert load(written(tmp_path, changed({}) | extra), ENVIRON).models


def test_a_directory_that_is_missing_or_empty_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"^config: there is no such directory; make one with"):
        load(tmp_path / "config", ENVIRON)
    (tmp_path / "config").mkdir()
    with pytest.raises(ConfigurationError, match=r"^config/visibility_groups/production.json: is missing"):
        load(Path("config"), ENVIRON)


def test_no_change_is_no_difference(tmp_path: Path) -> None:
    bodies = loaded(tmp_path).bodies
    assert differences(bodies, copy.deepcopy(bodies)) == []


def test_differences_tell_kind_id_and_paths_but_no_values(tmp_path: Path) -> None:
    old = loaded(tmp_path / "old").bodies
    new = loaded(
        tmp_path / "new",
        {
            "apps/shop_db:url": "${OTHER_URL}",
            "customers/globex": REMOVED,
            "apps/crm_db:customer": REMOVED,
            "sources/purchases:properties.last_item.filters": [],
            "sources/purchases:properties.total_spent.type": "float",
            "sources/users:schedule.paused": True,
            "sources/more": changed({})["sources/accounts"] | {"properties": {}},
        },
    ).bodies
    assert differences(old, new) == [
        Difference("apps", "crm_db", "changed", ("customer",)),
        Difference("apps", "shop_db", "changed", ("url",)),
        Difference("customers", "globex", "removed"),
        Difference("sources", "more", "added"),
        Difference(
            "sources",
            "purchases",
            "changed",
            ("properties.total_spent.type", "properties.last_item.filters"),
        ),
        Difference("sources", "users", "changed", ("schedule.paused",)),
    ]


def test_before_the_first_apply_everything_is_added(tmp_path: Path) -> None:
    bodies = loaded(tmp_path).bodies
    found = differences(None, bodies)
    assert {d.change for d in found} == {"added"}
    assert len(found) == sum(len(of_kind) for of_kind in bodies.values())


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [(1, True, "x"), (0, False, "x"), ([1], [True], "x[0]"), ([1], [1, 2], "x"), (None, {}, "x")],
)
def test_values_of_another_kind_are_different(old: Any, new: Any, path: str) -> None:
    assert differences({"models": {"a": {"x": old}}}, {"models": {"a": {"x": new}}}) == [
        Difference("models", "a", "changed", (path,))
    ]
