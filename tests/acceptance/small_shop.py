"""A shop of one table: for tests of the processes in which rows do not matter."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import compose
from tests.acceptance.conftest import NewDatabase
from tests.acceptance.project import Project, execute, sqlite_url
from tests.acceptance.survival import ENVIRONMENT

SOON_S = 60.0
CUSTOMER = "initech-7f3a"
EMAIL = "ada-91bc@example.com"
USERS = """
CREATE TABLE users (id integer PRIMARY KEY, tenant text NOT NULL, email text,
                    updated_at {timestamp} NOT NULL DEFAULT CURRENT_TIMESTAMP)
"""
ADD = "INSERT INTO users (id, tenant, email) VALUES ({id}, '{customer}', '{email}')"


def definitions(kind: str, every: str) -> dict[str, dict[str, Any]]:
    return {
        "apps/shop": {"name": "Shop", "type": kind, "url": "${SHOP_URL}"},
        "schemas/crm": {"name": "CRM"},
        "visibility_groups/all": {"name": "All"},
        "data_sources/main": {
            "nickname": "Main",
            "schema": "crm",
            "default_for": ["all"],
            "type": kind,
            "url": "${STORE_URL}",
        },
        "models/users": {"name": "Users", "schema": "crm"},
        "sources/users": {
            "name": "Users",
            "model": "users",
            "primary": True,
            "app": "shop",
            "table": "users",
            "key": ["id"],
            "customer": {"column": "tenant"},
            "schedule": {"every": every, "cursor": "updated_at", "clock": "database"},
            "properties": {"email": {"type": "email", "column": "email"}},
        },
    }


def _of_compose(control: str, redis_server: str) -> dict[str, str]:
    """What deploy/compose.yaml starts processes with, but for places: those are of this machine."""
    given = {"POSTGRES_PASSWORD": "no secret", "HEADRACE_SECRET_KEYS": "a passphrase of this test"}
    here = {
        "HEADRACE_CONFIG_DIR": "config",
        "HEADRACE_HTTP_HOST": "127.0.0.1",
        "HEADRACE_METRICS_HOST": "127.0.0.1",
        "HEADRACE_HTTP_PORT": "0",
    }
    return compose.environment("web", given, {"postgres": control, "redis": redis_server}) | here


@contextmanager
def over_servers(
    directory: Path, new_database: NewDatabase, redis_server: str, *, every: str = "1s"
) -> Iterator[Project]:
    """A project for the processes of the Procfile, in the environment of compose, its definitions
    applied."""
    with new_database() as shop, new_database() as store, new_database() as control:
        execute(shop, USERS.format(timestamp="timestamptz"))
        environment = {
            **_of_compose(control, redis_server),
            **ENVIRONMENT,
            "SHOP_URL": shop,
            "STORE_URL": store,
            "HEADRACE_QUEUE_NAMESPACE": f"headrace_test_{uuid.uuid4().hex[:12]}",
        }
        project = Project.create(directory, definitions("postgres", every), environment, warm=True)
        project.headrace("db", "upgrade")
        project.headrace("apply")
        yield project


def in_files(directory: Path) -> Project:
    """A project for `headrace up`: SQLite, no broker."""
    urls = {f"{name.upper()}_URL": sqlite_url(directory / f"{name}.db") for name in ("shop", "store")}
    project = Project.create(directory, definitions("sqlite", "1s"), ENVIRONMENT | urls, warm=True)
    execute(urls["SHOP_URL"], USERS.format(timestamp="text"))
    return project


def add_user(project: Project, id_: int) -> None:
    """A user of this id, the first of whom is 1, comes to the source."""
    execute(project.environment["SHOP_URL"], ADD.format(id=id_, customer=CUSTOMER, email=EMAIL))


def until_merged(project: Project, batches: int) -> None:
    counted = "SELECT count(*), count(merged_at) FROM batch"
    until(lambda: project.control(counted) == [(batches, batches)], f"{batches} batches are not merged")


def until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
