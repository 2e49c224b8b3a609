"""Sakila, the rental shop in MySQL, merged into each kind of store by the command line."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from tests.acceptance import sakila
from tests.acceptance.conftest import shared
from tests.acceptance.project import Project
from tests.acceptance.records import SqliteStore, Store
from tests.acceptance.renters import Renter, Renters, assert_readme, unchanged
from tests.conftest import mysql_connection

pytestmark = pytest.mark.services

README = {
    1: Renter("MARY SMITH", 32, "2005-08-22 20:03:46", 32, "118.68"),
    148: Renter("ELEANOR HUNT", 46, "2005-08-23 05:57:04", 46, "216.54"),
    599: Renter("AUSTIN CINTRON", 19, "2005-08-23 11:25:00", 19, "83.81"),
}
"""Renters as the README of the sample data has them."""
NewDatabase = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="module")
def new_mysql_database(mysql_server: str) -> NewDatabase:
    @contextmanager
    def make() -> Iterator[str]:
        name = f"headrace_test_{uuid.uuid4().hex[:12]}"
        with closing(mysql_connection(mysql_server)) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        try:
            yield f"{mysql_server}/{name}"
        finally:
            with closing(mysql_connection(mysql_server)) as connection, connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE IF EXISTS {name}")

    return make


@pytest.fixture(scope="module")
def loaded(new_mysql_database: NewDatabase) -> Iterator[str]:
    """A database with all of Sakila in it."""
    shared(sakila.FILES)
    with new_mysql_database() as url:
        sakila.load(url)
        yield url


@pytest.fixture
def renters(loaded: str, new_mysql_database: NewDatabase, store: Store) -> Iterator[Renters]:
    with new_mysql_database() as url:
        sakila.clone(loaded, url)
        yield Renters(sakila, url, store)


@pytest.fixture
def project(renters: Renters, tmp_path: Path) -> Project:
    environment = {"SAKILA_URL": renters.source_url, "STORE_URL": renters.store.url}
    return Project.create(tmp_path / "project", sakila.definitions(renters.store), environment, warm=True)


def test_the_oracle_gives_the_numbers_of_the_readme(loaded: str, tmp_path: Path) -> None:
    assert_readme(Renters(sakila, loaded, SqliteStore(tmp_path / "unused.db")).expected(), README)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_definitions_and_databases_agree(project: Project, renters: Renters) -> None:
    project.headrace("validate", "--connect")
    assert "last_update" in project.headrace("discover", "sakila")
    assert "MARY" in project.headrace("preview", "renters", "--limit", "3")


def test_records_equal_the_oracle_through_changes_late_commits_and_deletes(
    project: Project, renters: Renters
) -> None:
    """After a sync; after inserts, updates, moves and a late commit; and, deletes and new keys too, after a
    reconciliation of each source."""
    project.headrace("sync")
    renters.assert_equal()
    assert_readme(renters.actual(), README)

    batches, contents = project.journalled_batches(), renters.store.contents()
    project.headrace("sync")
    assert project.journalled_batches() == batches, "an idle feed journals no batch"
    assert renters.store.contents() == contents, "a second sync changes no row of the store"

    with (
        closing(mysql_connection(renters.source_url)) as connection,
        closing(mysql_connection(renters.source_url, autocommit=False)) as late,
        late.cursor() as later,
    ):
        changes = sakila.Changes(connection, random.Random(2_407))
        later.execute("UPDATE customer SET first_name = 'LATE' WHERE customer_id IN (7, 8)")
        later.execute("UPDATE rental SET customer_id = 9 WHERE rental_id = 11")
        changes.run("UPDATE customer SET first_name = 'EARLY' WHERE customer_id = 3")
        changes.run("UPDATE rental SET customer_id = 3 WHERE rental_id = 12")
        project.headrace("sync")
        renters.assert_equal()
        assert renters.actual()["default", 3]["first_name"] == "EARLY"

        late.commit()
        for _ in range(120):
            changes.one(removing=False)
        project.headrace("sync")
        renters.assert_equal()
        assert renters.actual()["default", 7]["first_name"] == "LATE"

        for _ in range(200):
            changes.one(removing=True)
    assert changes.removed.keys() == {"customer", "rental", "payment", "address"}, changes.removed
    project.headrace("sync")
    project.headrace("verify", exit_code=1)  # deletes: no poll sees them
    for arguments in sakila.RECONCILED:
        project.headrace("reconcile", *arguments)
    renters.assert_equal()
    (verified,) = json.loads(project.headrace("verify", "--json"))["models"]
    assert (verified["differing"], verified["behind"]) == ([], [])
    assert verified["given"] == verified["stored"] == len(renters.actual())

    contents = renters.store.contents()
    project.headrace("sync")
    assert renters.store.contents().items() >= unchanged(contents).items()
