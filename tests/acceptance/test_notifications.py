"""The trigger of docs/triggers.md, as it is written there, has the processes of the Procfile read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.acceptance.conftest import NewDatabase
from tests.acceptance.procfile import Running
from tests.acceptance.project import execute, query
from tests.acceptance.small_shop import add_user, definitions, over_servers, until

pytestmark = pytest.mark.services

GUIDE = Path(__file__).parents[2] / "docs" / "triggers.md"
PROCESSES = {"fetch": "workers.fetch", "merge": "workers.merge", "triggers": "producers.triggers"}


def in_guide(language: str, word: str) -> str:
    """The one block of this language in which the word is."""
    (block,) = [b for b in re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL) if word in b]
    return block


def test_a_table_s_own_trigger_has_its_rows_read(
    new_database: NewDatabase, redis_server: str, tmp_path: Path
) -> None:
    with over_servers(tmp_path / "shop", new_database, redis_server) as shop:
        shop.environment["HEADRACE_EVENTS_URL"] = redis_server
        users = definitions("postgres", "1d")["sources/users"]
        shop.define("sources/users", users | json.loads("{" + in_guide("json", '"listen"') + "}"))
        shop.headrace("apply")
        source, store = shop.environment["SHOP_URL"], shop.environment["STORE_URL"]
        execute(source, in_guide("postgresql", "pg_notify"))
        fleet = Running()
        try:
            for name, module in PROCESSES.items():
                fleet.start(shop, name, module)
            listening = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'headrace-listener'"
            until(
                lambda: query(source, f"{listening} AND datname = current_database()") == [(1,)],
                "nobody listens",
            )
            add_user(shop, 1)
            until(lambda: query(store, "SELECT id FROM headrace.users") == [(1,)], "it was not read")
            (example,) = re.findall(r"`pg_notify\('users_changed', '(.*?)'\)`", GUIDE.read_text())
            execute(source, "ALTER TABLE users DISABLE TRIGGER tell_headrace", "DELETE FROM users")
            execute(source, f"SELECT pg_notify('users_changed', '{example.replace('17', '1')}')")
            until(lambda: query(store, "SELECT id FROM headrace.users") == [], "its deletion was not read")
            assert {name: p.stop(limit_s=25) for name, p in fleet.processes.items()} == dict.fromkeys(
                PROCESSES, 0
            )
        finally:
            for process in fleet.processes.values():
                process.discard()
