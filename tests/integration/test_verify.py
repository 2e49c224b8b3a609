"""`headrace verify`: what is wrong is found, what is only late is not called wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from headrace import wiring
from headrace.domain.vocabulary import FeedId, SourceId
from headrace.settings import Settings
from headrace.steps.fetch import PollReport
from headrace.steps.merge_report import MergeReport, blocked
from headrace.steps.verify import Found, ModelReport
from headrace.steps.verify_sample import Sample
from tests.acceptance.project import execute, query
from workers.sync import SyncReport, run_sync
from workers.verify import Wanted, run_verify

NOW = {"sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')", "postgres": "clock_timestamp()"}
STAMP = {"sqlite": "text", "postgres": "timestamptz"}

TABLES = """
CREATE TABLE users (id integer PRIMARY KEY, tenant text, email text, plan_id integer, updated_at {stamp});
CREATE TABLE buys (id integer PRIMARY KEY, buyer integer, amount text, item text, at date, tenant text,
                   state text, deleted integer, updated_at {stamp});
CREATE TABLE plans (id integer PRIMARY KEY, name text, updated_at {stamp});
CREATE TABLE prices (plan text PRIMARY KEY, price text, updated_at {stamp});
INSERT INTO plans VALUES (1, 'free', {now}), (2, 'paid', {now});
INSERT INTO prices VALUES ('free', '0', {now}), ('paid', '9.90', {now});
"""
USERS = 40


def definitions(app_type: str, store_type: str) -> dict[str, Any]:
    tracked = {"cursor": "updated_at", "clock": "database"}
    tenant = {"column": "tenant"}
    source = {"model": "users", "app": "shop", "schedule": tracked}
    return {
        "apps/shop": {"name": "Shop", "type": app_type, "url": "${APP_URL}", "customer": "a"},
        "schemas/s": {"name": "S"},
        "visibility_groups/g": {"name": "G"},
        "data_sources/main": {
            "nickname": "Main",
            "schema": "s",
            "default_for": ["g"],
            "type": store_type,
            "url": "${STORE_URL}",
        },
        "models/users": {"name": "Users", "schema": "s"},
        "sources/users": source
        | {
            "name": "Users",
            "primary": True,
            "table": "users",
            "key": ["id"],
            "customer": tenant,
            "properties": {
                "id": {"type": "integer", "column": "id"},
                "email": {"type": "email", "column": "email"},
                "plan_id": {"type": "integer", "column": "plan_id"},
            },
        },
        "sources/buys": source
        | {
            "name": "Buys",
            "table": "buys",
            "key": ["id"],
            "customer": tenant,
            "schedule": tracked | {"deletes": {"column": "deleted"}},
            "mapping": {"buyer": "id"},
            "properties": {
                "spent": {"type": "decimal", "aggregation": "sum", "column": "amount"},
                "average": {"type": "decimal", "aggregation": "average", "column": "amount"},
                "items": {"type": "json", "aggregation": "list", "column": "item"},
                "last": {
                    "type": "string", "aggregation": "most_recent", "column": "item", "order_by": "at",
                    "filters": [{"column": "state", "op": "eq", "value": "paid"}],
                },
            },
        },
        "sources/plans": source
        | {
            "name": "Plans",
            "table": "plans",
            "key": ["id"],
            "customer": {"value": "a"},
            "mapping": {"id": "plan_id"},
            "properties": {"plan": {"type": "string", "column": "name"}},
        },
        "sources/prices": source
        | {
            "name": "Prices",
            "table": "prices",
            "key": ["plan"],
            "customer": {"value": "a"},
            "mapping": {"plan": "plan"},
            "properties": {"price": {"type": "decimal", "column": "price"}},
        },
    }  # fmt: skip


@dataclass
class Shop:
    """A source of one dialect, a store of one, and the application between them."""

    dialect: str
    source_url: str
    store_url: str
    app: wiring.Application

    def write(self, *statements: str) -> None:
        execute(self.source_url, *(s.format(now=NOW[self.dialect]) for s in statements))

    def damage(self, *statements: str) -> None:
        if self.store_url.startswith("postgresql"):
            statements = tuple(s.replace(" users ", " headrace.users ") for s in statements)
        execute(self.store_url, *statements)

    def sync(self) -> None:
        assert not run_sync(self.app).failed

    def verify(self, **wanted: Any) -> ModelReport:
        (report,) = run_verify(self.app, Wanted(**wanted))
        assert isinstance(report, ModelReport), report
        return report

    def reconcile(self, source_id: str, *, full: bool = False) -> None:
        self.app.commands.request_reconcile(source_id, full=full, confirm=False)
        assert not run_sync(self.app, sources=[SourceId(source_id)]).failed


@pytest.fixture(params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    yield from open_shop(request, tmp_path, monkeypatch, {})


def open_shop(
    request: pytest.FixtureRequest,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, dict[str, Any]],
) -> Iterator[Shop]:
    dialect = getattr(request, "param", "sqlite")
    if dialect == "sqlite":
        source_url, store_url = f"sqlite:///{directory}/source.db", f"sqlite:///{directory}/store.db"
    else:
        source_url = store_url = request.getfixturevalue("postgres_database")
    monkeypatch.setenv("APP_URL", source_url)
    monkeypatch.setenv("STORE_URL", store_url)
    for place, body in definitions(dialect, dialect).items():
        file = directory / "config" / f"{place}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(body | changes.get(place, {})))
    urls = {"control_url": f"sqlite:///{directory}/control.db", "config_dir": directory / "config"}
    made = TABLES.format(now=NOW[dialect], stamp=STAMP[dialect])
    execute(source_url, *filter(str.strip, made.split(";")))
    with wiring.build(Settings().model_copy(update=urls), process="test") as app:
        shop = Shop(dialect, source_url, store_url, app)
        shop.write(*rows())
        assert not app.apply(app.definitions()).failed
        shop.sync()
        yield shop


def rows() -> list[str]:
    """Users of two customers, one with a bad address, one without customer; three buys for every second."""
    emails = ["nonsense" if i == 6 else f"u{i}@x.y" for i in range(USERS)]
    users = [
        f"({i}, '{'ab'[i % 2]}', '{email}', {i % 3}, '2026-01-01 00:00:{i:02}')"
        for i, email in enumerate(emails)
    ]
    buys = [
        f"({n}, {n // 3 * 2}, '{n}.5', 'item {n}', '2026-01-{1 + n % 7:02}', 'a',"
        f" '{'paid' if n % 2 else 'open'}', 0, '2026-01-01 00:00:{n:02}')"
        for n in range(USERS * 3 // 2)
    ]
    return [
        f"INSERT INTO users VALUES {', '.join(users)}, (99, NULL, 'no@cust.omer', 1, '2026-01-01')",
        f"INSERT INTO buys VALUES {', '.join(buys)}",
    ]


def told(found: list[Found]) -> set[tuple[Any, ...]]:
    """Way, customer, key and properties of each difference."""
    return {
        (d.kind, d.record.customer, *d.record.key, *sorted(d.expected if d.kind == "differs" else ()))
        for d in (f.difference for f in found)
    }


def test_equal_stores_are_clean_and_rejected_rows_are_told(shop: Shop) -> None:
    report = shop.verify()
    assert (report.differing, report.behind) == ([], [])
    assert (report.expected, report.stored) == (USERS, USERS)
    ((rejected,),) = report.rejected.values()
    assert (rejected.key, rejected.code, report.rejected_rows) == ('["99"]', "customer_missing", 1)


def test_every_kind_of_damage_is_found(shop: Shop) -> None:
    shop.damage(
        "UPDATE users SET email = 'other@x.y' WHERE id = 3",
        "DELETE FROM users WHERE id = 4",
        "INSERT INTO users (_customer_id, id, _created_at, _updated_at)"
        " SELECT 'a', 777, _created_at, _updated_at FROM users WHERE id = 3",
        "UPDATE users SET spent = '7' WHERE id = 8" if shop.dialect == "sqlite"
        else "UPDATE users SET spent = 7 WHERE id = 8",
        "UPDATE users SET _customer_id = 'b' WHERE id = 10",
        "UPDATE users SET _invalid = NULL WHERE id = 6",
        "UPDATE users SET items = '[]' WHERE id = 12",
        "UPDATE users SET price = NULL WHERE id = 14",
    )  # fmt: skip
    report = shop.verify()
    assert told(report.differing) == {
        ("differs", "b", "3", "email"),
        ("missing", "a", "4"),
        ("ghost", "a", "777"),
        ("differs", "a", "8", "spent"),
        ("missing", "a", "10"),
        ("ghost", "b", "10"),
        ("differs", "a", "6", "_invalid"),
        ("differs", "a", "12", "items"),
        ("differs", "a", "14", "price"),
    }
    assert report.behind == []
    spent = next(f.difference for f in report.differing if f.difference.expected.keys() == {"spent"})
    assert (spent.expected["spent"], spent.found["spent"]) == ("40.5", "7")

    assert told(shop.verify(sources=["prices"]).differing) == {("differs", "a", "14", "price")}
    assert told(shop.verify(sample=Sample(size=200, seed=1)).differing) == told(report.differing)
    assert shop.verify(limit=2).stopped


def test_a_sample_is_as_large_as_it_was_asked_for_and_the_same_for_a_seed(shop: Shop) -> None:
    shop.damage("UPDATE users SET email = NULL WHERE id < 1000")
    ones = [shop.verify(sample=Sample(size=10, seed=seed)) for seed in (1, 1, 2)]
    assert [report.expected for report in ones] == [10, 10, 10]
    first, again, other = (told(report.differing) for report in ones)
    assert first == again != other


def test_what_was_not_read_yet_is_behind_and_not_wrong(shop: Shop) -> None:
    shop.write(
        "UPDATE users SET email = 'new@x.y', updated_at = {now} WHERE id = 5",
        "INSERT INTO users VALUES (500, 'new', 'n@x.y', 1, {now})",
        "UPDATE buys SET amount = '1000', updated_at = {now} WHERE id = 0",
        "UPDATE buys SET deleted = 1, updated_at = {now} WHERE id = 9",
        "UPDATE plans SET name = 'paid', updated_at = {now} WHERE id = 1",
    )
    report = shop.verify()
    assert report.differing == []
    assert {d[1:3] for d in told(report.behind)} >= {("b", "5"), ("new", "500"), ("a", "0"), ("a", "6")}
    assert (shop.verify().differing, shop.verify().behind) == ([], [])


def test_what_no_poll_can_see_differs_until_a_reconciliation(shop: Shop) -> None:
    """A delete, and a change that leaves the cursor."""
    shop.write("DELETE FROM users WHERE id = 7", "UPDATE buys SET amount = '1000' WHERE id = 0")
    report = shop.verify()
    assert told(report.differing) == {("ghost", "b", "7"), ("differs", "a", "0", "average", "spent")}
    ghost = next(found for found in report.differing if found.difference.kind == "ghost")
    assert "headrace reconcile users" in ghost.why
    shop.reconcile("users")
    shop.reconcile("buys", full=True)
    assert (shop.verify().differing, shop.verify().behind) == ([], [])


def test_rows_that_a_breaker_holds_are_told_and_excepted(shop: Shop) -> None:
    shop.write("DELETE FROM users", "DELETE FROM buys")
    shop.reconcile("users")
    shop.reconcile("buys")
    report = shop.verify()
    assert (report.differing, report.behind) == ([], [])
    assert sorted(report.held.values()) == [USERS, USERS * 3 // 2]


def test_what_differs_while_its_source_is_paused_is_not_judged(shop: Shop) -> None:
    shop.app.commands.pause("buys", reason="moving")
    assert shop.verify().unjudged_records == 0
    shop.damage("UPDATE users SET items = '[]' WHERE id = 12", "UPDATE users SET price = NULL WHERE id = 14")
    shop.write("UPDATE buys SET amount = '1000', updated_at = {now} WHERE id = 0")
    report = shop.verify()
    assert told(report.differing) == {("differs", "a", "14", "price")}
    assert told(report.unjudged) == {
        ("differs", "a", "0", "average", "spent"),
        ("differs", "a", "12", "items"),
    }
    assert {found.why for found in report.unjudged} == {"buys is paused: moving"}
    assert (report.unjudged_records, report.behind) == (2, [])


def test_what_differs_while_its_source_cannot_be_read_is_not_judged(shop: Shop) -> None:
    shop.damage("UPDATE users SET email = NULL WHERE id = 33", "UPDATE users SET price = NULL WHERE id = 14")
    polled = shop.app.poll

    def failing(feed_id: FeedId, **how: Any) -> PollReport:
        report = polled(feed_id, **how)
        return replace(report, error="away") if report.source_id == "users" else report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shop.app, "poll", failing)
        report = shop.verify()
    assert told(report.differing) == {("differs", "a", "14", "price")}
    assert told(report.unjudged) == {("differs", "b", "33", "email")}
    assert [found.why for found in report.unjudged] == ["users: away"]


def test_what_was_never_read_is_behind_where_it_is_missing_alone(shop: Shop) -> None:
    shop.damage("DELETE FROM users WHERE id = 4", "UPDATE users SET email = NULL WHERE id = 33")
    execute(
        str(shop.app.settings.control_url),
        "UPDATE feed SET first_stream_done = false WHERE source_id = 'users'",
    )
    report = shop.verify()
    assert (told(report.behind), report.differing) == ({("missing", "a", "4")}, [])
    assert told(report.unjudged) == {("differs", "b", "33", "email")}
    assert {f.why for f in (*report.behind, *report.unjudged)} == {"users was never read to its end"}


def test_batches_that_are_journalled_meanwhile_excuse_nothing(shop: Shop) -> None:
    shop.damage("UPDATE users SET email = NULL WHERE id = 33")
    users = next(f.feed_id for f in shop.app.status.feed_status() if f.source_id == "users")

    def then_others_poll(app: wiring.Application, **how: Any) -> SyncReport:
        report = run_sync(app, **how)
        shop.write("UPDATE users SET plan_id = 1, updated_at = {now} WHERE id = 1")
        assert app.poll(users).batches
        return report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.verify.run_sync", then_others_poll)
        report = shop.verify()
    assert told(report.differing) == {("differs", "b", "33", "email")}
    assert report.unjudged == []


def test_what_differs_while_its_batches_are_refused_is_not_judged(shop: Shop) -> None:
    shop.damage("UPDATE users SET email = NULL WHERE id = 33")
    shop.write("UPDATE users SET plan_id = 1, updated_at = {now} WHERE id = 1")

    def refusing(*target: Any) -> MergeReport:
        return blocked(SourceId("users"), "no room")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shop.app, "merge", refusing)
        report = shop.verify()
    assert report.differing == []
    assert ("differs", "b", "33", "email") in told(report.unjudged)
    assert report.unjudged[0].why == "users: its batches wait to be merged"


def test_a_busy_source_gives_no_false_alarm(shop: Shop) -> None:
    """It is written to and synced while it is verified, and damage is found all the same."""
    shop.damage("UPDATE users SET email = NULL WHERE id = 33")
    stop, began = threading.Event(), threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            at = number % 30
            shop.write(
                f"UPDATE users SET email = 'w{number}@x.y', updated_at = {{now}} WHERE id = {at}",
                f"UPDATE buys SET amount = '{number}', updated_at = {{now}} WHERE id = {at}",
                f"UPDATE buys SET buyer = {number % 20}, updated_at = {{now}} WHERE id = {at + 1}",
            )
            began.set()
            stop.wait(0.01)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert began.wait(10)
        for _ in range(3):
            assert told(shop.verify().differing) == {("differs", "b", "33", "email")}
    finally:
        stop.set()
        writer.join()
    shop.sync()
    report = shop.verify()
    assert (told(report.differing), report.behind) == ({("differs", "b", "33", "email")}, [])


@pytest.fixture
def ignoring(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    schedule = {"schedule": {"cursor": "updated_at", "clock": "database", "deletes": "ignore"}}
    yield from open_shop(
        request, tmp_path, monkeypatch, dict.fromkeys(("sources/users", "sources/buys"), schedule)
    )


def test_deletes_that_are_ignored_are_no_difference(ignoring: Shop) -> None:
    ignoring.write("DELETE FROM users WHERE id < 4", "DELETE FROM buys WHERE id > 10")
    ignoring.reconcile("users")
    ignoring.reconcile("buys")
    report = ignoring.verify()
    assert (report.differing, report.behind) == ([], [])
    assert report.stored == USERS
    ignoring.damage("UPDATE users SET spent = '1' WHERE id = 20")
    assert told(ignoring.verify().differing) == {("differs", "a", "20", "spent")}


@pytest.fixture
def by_text(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    """Buys name their user by a text."""
    yield from open_shop(request, tmp_path, monkeypatch, {"sources/buys": {
        **definitions("sqlite", "sqlite")["sources/buys"], "mapping": {"item": "id"},
        "schedule": {"cursor": "updated_at", "clock": "database"},
    }})  # fmt: skip


def test_rows_that_cannot_be_looked_up_are_found_by_reading_whole(by_text: Shop) -> None:
    by_text.write("UPDATE buys SET item = ' 4 ', updated_at = {now} WHERE id < 3")
    by_text.sync()
    (record,) = query(by_text.store_url, "SELECT spent FROM users WHERE id = 4")
    assert record == ("4.5",)
    by_text.damage("UPDATE users SET spent = '1' WHERE id = 4")
    report = by_text.verify()
    assert told(report.differing) == {("differs", "a", "4", "spent")}
    assert report.read_whole == ["buys.item"]
