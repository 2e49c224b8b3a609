"""Acceptance 12: rows before their records, rows that move between records, four workers, nudges doubled."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.campaign import within
from tests.acceptance.conftest import NewDatabase
from tests.acceptance.project import Project, query
from tests.acceptance.survival import ENVIRONMENT
from tests.faults import shop
from tests.faults.changes import Changes
from tests.faults.fleet import Fleet
from tests.faults.redelivery import redeliver
from tests.faults.settling import settle
from tests.faults.verdict import examine

pytestmark = pytest.mark.services

STAGED_WITHIN_S = 60.0
MOVES_BETWEEN = 60
USERS_AT_ONCE = 200
DOUBLED_EVERY_S = 0.4
STAGED = "SELECT count(*) FROM headrace._staged_purchases"


@contextmanager
def redelivering(project: Project, broker_url: str, namespace: str) -> Iterator[list[int]]:
    """Inside, every nudge comes again and again, in any order; how many did is what is given."""
    given, stop, chance = [0], threading.Event(), random.Random(12)
    control_url = project.environment["HEADRACE_CONTROL_URL"]

    def run() -> None:
        while not stop.wait(DOUBLED_EVERY_S):
            given[0] += redeliver(broker_url, namespace, control_url=control_url, times=2, chance=chance)

    thread = threading.Thread(target=run, name="redelivery")
    thread.start()
    try:
        yield given
    finally:
        stop.set()
        thread.join()


def move(source_url: str) -> dict[str, int]:
    """Users come bit by bit to the purchases that wait for them, while rows and keys move."""
    chance = random.Random(12)
    made: dict[str, int] = {}
    with psycopg.connect(source_url, autocommit=True) as connection:
        changes = Changes(connection, chance)
        kinds = (
            changes.move_purchase_to_another_buyer,
            changes.move_purchase_to_another_buyer,
            changes.give_user_a_new_key,
            changes.change_user,
            changes.buy_before_being_a_user,
            changes.change_account,
            changes.move_purchase_to_another_customer,
        )
        for after in range(0, shop.FIRST_USERS, USERS_AT_ONCE):
            shop.fill(source_url, "users", after=after, upto=after + USERS_AT_ONCE)
            for _ in range(MOVES_BETWEEN):
                change = chance.choice(kinds)
                change()
                made[change.__name__] = made.get(change.__name__, 0) + 1
    return made


def test_12_orphans_moves_and_redelivery_end_equal_to_the_oracle(
    new_database: NewDatabase, redis_server: str, tmp_path: Path
) -> None:
    broker_url, namespace = f"{redis_server.rstrip('/')}/12", f"headrace_test_{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        source_url, control_url = stack.enter_context(new_database()), stack.enter_context(new_database())
        stores = {name: stack.enter_context(new_database()) for name in sorted(set(shop.HOMES.values()))}
        shop.create(source_url)
        for table in ("purchases", "accounts"):
            shop.fill(source_url, table)
        environment = {
            **ENVIRONMENT,
            "SHOP_URL": source_url,
            **{f"{name.upper()}_URL": url for name, url in stores.items()},
            "HEADRACE_CONTROL_URL": control_url,
            "HEADRACE_BROKER_URL": broker_url,
            "HEADRACE_QUEUE_NAMESPACE": namespace,
        }
        project = Project.create(
            tmp_path / "project", shop.definitions(page_rows=500), environment, warm=True
        )
        project.headrace("db", "upgrade")
        project.headrace("apply")
        with Fleet.of(project) as fleet:
            assert within(STAGED_WITHIN_S, lambda: orphans(stores) == shop.FIRST_PURCHASES), fleet.tails()
            with redelivering(project, broker_url, namespace) as redelivered:
                made = move(source_url)
                settle(project, fleet)
            verdict = examine(source_url, stores)
            assert fleet.stop_all() == dict.fromkeys(fleet.running, 0), fleet.tails()
        print(f"\n{made}; {redelivered[0]} nudges redelivered\n{verdict}")
        assert verdict.clean, verdict
        assert verdict.records >= shop.FIRST_USERS
        assert not fleet.bugs()


def orphans(stores: dict[str, str]) -> int:
    """Purchases that are staged, none of their records being there."""
    return sum(int(query(url, STAGED)[0][0]) for url in stores.values())
