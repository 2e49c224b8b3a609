"""The cases that Grouparoo, the seed's system, was known by, and those that it got wrong.

Each journey runs on one dialect of source and one of store: a first sync, an idle one, changes, a
reconciliation, rows that come back, an emptied source, and definitions that change.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import NewDatabase
from tests.acceptance.project import Project, execute, sqlite_url
from tests.acceptance.records import Record, Store, property_types

pytestmark = pytest.mark.services

ACCOUNTS = {0: "zero", 1: "super_mega_corp", 2: "star_fleet", 3: "banana_stand"}
ACCOUNT_OF = {1: 1, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2, 7: 2, 8: 2, 9: 2, 10: 3}
UNKNOWN_ACCOUNT, NO_ACCOUNT, ZERO, NO_STAMP = 11, 12, 0, 13
"""Users beyond Grouparoo's ten: account_id unknown, null and 0 (the user's id is 0 too), updated_at null."""

PURCHASES: dict[int, list[tuple[int, str | None, str, int]]] = {
    1: [
        (1, "Apple", "1.54", 1),
        (6, "Orange", "1.42", 6),
        (11, "Blueberry", "2.23", 11),
        (15, "Apple", "1.54", 15),
        (18, "Blueberry", "2.23", 18),
        (20, "Orange", "1.42", 20),
        (23, None, "1.00", 20),
    ],
    2: [
        (2, "Pear", ".78", 2),
        (7, "Apple", "1.54", 7),
        (12, "Apple", "3.14", 12),
        (16, "Pear", ".78", 16),
        (19, "Apple", "3.14", 19),
    ],
    ZERO: [(30, "Nought", "0.00", 3)],
    77: [(31, "Orphan", "7.70", 4)],
}
"""Purchases (id, item, amount, day of February 2020) by user. Purchase 23 is the latest of its day."""


@dataclass(frozen=True)
class Source:
    """A database with the tables of the cases, in the dialect of its URL."""

    url: str

    @property
    def type(self) -> str:
        return self.url.split(":")[0].replace("postgresql", "postgres")

    @property
    def now(self) -> str:
        return "now()" if self.type == "postgres" else "strftime('%Y-%m-%d %H:%M:%f', 'now')"

    def create(self) -> None:
        stamp = "timestamptz" if self.type == "postgres" else "TEXT"
        execute(
            self.url,
            f"CREATE TABLE users (id integer PRIMARY KEY, account_id integer, updated_at {stamp})",
            f"CREATE TABLE accounts (id integer PRIMARY KEY, name text, updated_at {stamp})",
            "CREATE TABLE purchases (id integer PRIMARY KEY, user_id integer, payer_id integer, item text,"
            f" amount numeric(10,2), stamp {stamp}, updated_at {stamp})",
            f"CREATE TABLE visitors (id integer NOT NULL, name text, updated_at {stamp})",
            *self._rows(),
        )

    def _rows(self) -> Iterator[str]:
        for user, account in (ACCOUNT_OF | {UNKNOWN_ACCOUNT: 404, ZERO: 0}).items():
            yield f"INSERT INTO users VALUES ({user}, {account}, {self.february(user or 1)})"
        yield f"INSERT INTO users VALUES ({NO_ACCOUNT}, NULL, {self.february(12)})"
        yield f"INSERT INTO users VALUES ({NO_STAMP}, 1, NULL)"
        for account, name in ACCOUNTS.items():
            yield f"INSERT INTO accounts VALUES ({account}, '{name}', {self.february(account + 1)})"
        for user, rows in PURCHASES.items():
            for key, item, amount, day in rows:
                stamp = self.february(day, hour=int(key == 23))
                text = "NULL" if item is None else f"'{item}'"
                yield (
                    f"INSERT INTO purchases VALUES ({key}, {user}, 10, {text}, {amount}, {stamp}, {stamp})"
                )
        yield f"INSERT INTO visitors VALUES (5, 'first', {self.february(1)})"
        yield f"INSERT INTO visitors VALUES (5, 'second', {self.february(2)})"

    def february(self, day: int, *, hour: int = 0) -> str:
        zone = "+00" if self.type == "postgres" else ""
        return f"'2020-02-{day:02} {hour:02}:00:00.000{zone}'"


@pytest.fixture(params=["postgres", "sqlite"])
def source(request: pytest.FixtureRequest, new_database: NewDatabase, tmp_path: Path) -> Iterator[Source]:
    if request.param == "sqlite":
        made = Source(sqlite_url(tmp_path / "source.db"))
        made.create()
        yield made
        return
    with new_database() as url:
        made = Source(url)
        made.create()
        yield made


def counted(*clauses: dict[str, Any]) -> dict[str, Any]:
    """A count of rows under filters."""
    return {"type": "integer", "aggregation": "count", "filters": list(clauses)}


def where(op: str, value: Any = None) -> dict[str, Any]:
    clause = {"column": "item", "op": op}
    return clause if value is None else clause | {"value": value}


def aggregated(kind: str, aggregation: str, column: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "aggregation": aggregation, "column": column, **more}


PURCHASE_PROPERTIES: dict[str, Any] = {
    "amount_count": aggregated("integer", "count", "amount"),
    "amount_sum": aggregated("decimal", "sum", "amount"),
    "amount_average": aggregated("decimal", "average", "amount"),
    "amount_min": aggregated("decimal", "min", "amount"),
    "amount_max": aggregated("decimal", "max", "amount"),
    "item_count": aggregated("integer", "count", "item"),
    "latest_item": aggregated("string", "most_recent", "item", order_by="stamp"),
    "earliest_item": aggregated("string", "least_recent", "item", order_by="stamp"),
    "items": aggregated("json", "list", "item"),
    "with_item": counted(where("exists")),
    "without_item": counted(where("not_exists")),
    "apples": counted(where("eq", "Apple")),
    "lowercase_apples": counted(where("eq", "apple")),
    "not_apples": counted(where("ne", "Apple")),
    "without_oran": counted(where("not_contains", "Oran")),
    "apples_and_pears": counted(where("in", ["Apple", "Pear"])),
}


def definitions(source: Source, store: Store) -> dict[str, Any]:
    schedule = {"every": "1m", "cursor": "updated_at", "clock": "database"}

    def of(model: str, table: str, **more: Any) -> dict[str, Any]:
        return {
            "name": f"{table} of {model}",
            "model": model,
            "app": "shop",
            "table": table,
            "key": ["id"],
            "schedule": schedule,
            **more,
        }

    return {
        "apps/shop": {"name": "Shop", "type": source.type, "url": "${SHOP_URL}"},
        "schemas/shop": {"name": "Shop"},
        "visibility_groups/production": {"name": "Production"},
        "data_sources/main": {
            "nickname": "Main",
            "provided_id": "main-1",
            "schema": "shop",
            "visibility_groups": ["production"],
            "default_for": ["production"],
        }
        | store.definition(),
        "models/users": {"name": "Users", "schema": "shop"},
        "models/accounts": {"name": "Accounts", "schema": "shop"},
        "models/visitors": {"name": "Visitors", "schema": "shop"},
        "sources/users": of(
            "users",
            "users",
            primary=True,
            properties={
                "user_id": {"type": "integer", "column": "id"},
                "account_id": {"type": "integer", "column": "account_id"},
            },
        ),
        "sources/purchases": of(
            "users", "purchases", mapping={"user_id": "user_id"}, properties=PURCHASE_PROPERTIES
        ),
        "sources/user_accounts": of(
            "users",
            "accounts",
            mapping={"id": "account_id"},
            properties={"account": {"type": "string", "column": "name"}},
        ),
        "sources/accounts": of(
            "accounts",
            "accounts",
            primary=True,
            properties={"name": {"type": "string", "column": "name"}},
        ),
        "sources/visitors": of(
            "visitors",
            "visitors",
            primary=True,
            properties={"name": {"type": "string", "column": "name"}},
        ),
    }


@dataclass
class Journey:
    source: Source
    store: Store
    project: Project
    definitions: dict[str, Any]

    def change(self, *statements: str) -> None:
        """Change the source in one transaction; `NOW` is its clock."""
        execute(self.source.url, *(s.replace("NOW", self.source.now) for s in statements))

    def sync(self, *arguments: str) -> None:
        self.project.headrace("sync", *arguments)

    def users(self) -> dict[int, Record]:
        types = property_types(self.definitions, "users", {})
        return {key[1]: record for key, record in self.store.records("users", types, ["user_id"]).items()}

    def names(self, model: str) -> dict[int, str]:
        types = {"id": "integer", "name": "string"}
        return {key[1]: record["name"] for key, record in self.store.records(model, types, ["id"]).items()}


@pytest.fixture
def journey(source: Source, store: Store, tmp_path: Path) -> Journey:
    defined = definitions(source, store)
    environment = {"SHOP_URL": source.url, "STORE_URL": store.url}
    return Journey(
        source, store, Project.create(tmp_path / "project", defined, environment, warm=True), defined
    )


TABLE: dict[str, tuple[Any, Any, Any]] = {
    "amount_count": (7, 5, 0),
    "amount_sum": (Decimal("11.38"), Decimal("9.38"), Decimal(0)),
    "amount_average": (Decimal("1.6257142857"), Decimal("1.876"), None),
    "amount_min": (Decimal("1.00"), Decimal(".78"), None),
    "amount_max": (Decimal("2.23"), Decimal("3.14"), None),
    "item_count": (6, 5, 0),
    "latest_item": (None, "Apple", None),
    "earliest_item": ("Apple", "Pear", None),
    "items": (
        ["Apple", "Orange", "Blueberry", "Apple", "Blueberry", "Orange", None],
        ["Pear", "Apple", "Apple", "Pear", "Apple"],
        [],
    ),
    "with_item": (6, 5, 0),
    "without_item": (1, 0, 0),
    "apples": (2, 3, 0),
    "lowercase_apples": (0, 0, 0),
    "not_apples": (4, 2, 0),
    "without_oran": (4, 5, 0),
    "apples_and_pears": (2, 5, 0),
    "account": ("super_mega_corp", "super_mega_corp", "star_fleet"),
}
"""Properties of users 1, 2 and 6 after the first sync."""


def test_the_cases_of_grouparoo(journey: Journey, subtests: pytest.Subtests) -> None:
    journey.sync()
    after_the_first_sync(journey, subtests)
    after_an_idle_sync(journey, subtests)
    after_changes(journey, subtests)
    after_rows_went_and_came_back(journey, subtests)
    after_the_source_was_emptied(journey, subtests)


def after_the_first_sync(journey: Journey, subtests: pytest.Subtests) -> None:
    users = journey.users()
    for name, expected in TABLE.items():
        with subtests.test(f"users 1, 2 and 6 have the {name} of the table"):
            assert tuple(users[key][name] for key in (1, 2, 6)) == expected
    with subtests.test("every user has a record, whatever its stamp and account"):
        assert users.keys() == ACCOUNT_OF.keys() | {UNKNOWN_ACCOUNT, NO_ACCOUNT, ZERO, NO_STAMP}
    with subtests.test("a null or unknown account leaves its name null"):
        assert users[NO_ACCOUNT]["account"] is None
        assert users[UNKNOWN_ACCOUNT]["account"] is None
    with subtests.test("the value 0 in a mapping column is a value"):
        assert users[ZERO]["amount_count"] == 1
        assert users[ZERO]["account"] == "zero"
    with subtests.test("an orphan secondary row makes no record"):
        assert 77 not in users
    with subtests.test("the same key value in two models gives two records"):
        assert journey.names("accounts") == ACCOUNTS
        assert users[1]["user_id"] == 1
    with subtests.test("two rows with one key give one record, the one read last"):
        assert journey.names("visitors") == {5: "second"}


def after_an_idle_sync(journey: Journey, subtests: pytest.Subtests) -> None:
    def runs() -> list[tuple[Any, ...]]:
        return journey.project.control("SELECT count(*) FROM run")

    before = journey.project.journalled_batches(), runs(), journey.store.contents()
    journey.sync()
    with subtests.test("an idle sync journals no batch, finds nothing to run for, and writes nothing"):
        assert (journey.project.journalled_batches(), runs(), journey.store.contents()) == before


def after_changes(journey: Journey, subtests: pytest.Subtests) -> None:
    journey.change(
        "UPDATE accounts SET name = 'star_fleet_ii', updated_at = NOW WHERE id = 2",
        "UPDATE users SET account_id = 3, updated_at = NOW WHERE id = 9",
        "UPDATE purchases SET user_id = 6, updated_at = NOW WHERE id = 11",
        "INSERT INTO users VALUES (77, 1, NOW)",
    )
    journey.sync()
    users = journey.users()
    with subtests.test("a renamed account reaches all its users and no others"):
        followers = {key for key, record in users.items() if record["account"] == "star_fleet_ii"}
        assert followers == {5, 6, 7, 8}
        assert journey.names("accounts")[2] == "star_fleet_ii"
    with subtests.test("a user that moves to another account has its name"):
        assert users[9]["account"] == "banana_stand"
    with subtests.test("a purchase that moves leaves the one user and joins the other"):
        assert (users[1]["amount_count"], users[1]["amount_sum"]) == (6, Decimal("9.15"))
        assert (users[6]["amount_count"], users[6]["latest_item"]) == (1, "Blueberry")
    with subtests.test("a record that comes after its secondary rows has them"):
        assert (users[77]["amount_sum"], users[77]["items"]) == (Decimal("7.7"), ["Orphan"])


def after_rows_went_and_came_back(journey: Journey, subtests: pytest.Subtests) -> None:
    journey.change(
        "DELETE FROM users WHERE id = 2",
        "DELETE FROM purchases WHERE id = 23",
        "UPDATE purchases SET id = 130, updated_at = NOW WHERE id = 1",
        "DELETE FROM accounts WHERE id = 3",
    )
    journey.sync("--reconcile")
    users = journey.users()
    with subtests.test("a record goes with its primary row, even if secondary rows remain"):
        assert 2 not in users
    with subtests.test("a hard delete of a secondary row is found by reconciliation"):
        assert (users[1]["without_item"], users[1]["latest_item"]) == (0, "Orange")
    with subtests.test("a row with a new key is one row, in the new key's place"):
        assert users[1]["items"] == ["Orange", "Apple", "Blueberry", "Orange", "Apple"]
    with subtests.test("a deleted account leaves its users without its name, and itself"):
        assert (users[9]["account"], users[10]["account"]) == (None, None)
        assert 3 not in journey.names("accounts")

    journey.change("INSERT INTO users VALUES (2, 1, NOW)")
    journey.sync()
    with subtests.test("a record that comes back has its secondary rows again"):
        back = journey.users()[2]
        assert {name: back[name] for name in TABLE} == {name: row[1] for name, row in TABLE.items()}


def after_the_source_was_emptied(journey: Journey, subtests: pytest.Subtests) -> None:
    before = journey.names("accounts")
    journey.change("DELETE FROM accounts")
    journey.project.headrace("reconcile", "accounts")
    with subtests.test("an emptied source takes no record with it unasked"):
        assert journey.names("accounts") == before
    journey.project.headrace("reconcile", "accounts", "--confirm")
    with subtests.test("what the breaker held goes when a person confirms it"):
        assert journey.names("accounts") == {}


def test_changed_definitions_read_again_what_they_need(journey: Journey) -> None:
    """A changed mapping, filter or aggregation shows in records of rows that did not change."""
    journey.sync()
    changed = copy.deepcopy(journey.definitions["sources/purchases"])
    changed["mapping"] = {"payer_id": "user_id"}
    changed["properties"]["apples"] = counted(where("starts_with", "App"))
    changed["properties"]["latest_item"]["aggregation"] = "max"
    del changed["properties"]["latest_item"]["order_by"]
    journey.project.define("sources/purchases", changed)
    journey.sync()
    users = journey.users()
    assert (users[1]["amount_count"], users[1]["items"]) == (0, [])
    payer = users[10]
    assert (payer["amount_count"], payer["apples"], payer["latest_item"]) == (14, 5, "Pear")
