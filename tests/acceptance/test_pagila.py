"""Pagila, a rental shop in PostgreSQL, merged into each kind of store by the command line."""

from __future__ import annotations

import json
import random
from pathlib import Path

import psycopg
import pytest

from tests.acceptance import pagila
from tests.acceptance.project import Project
from tests.acceptance.records import SqliteStore, Store
from tests.acceptance.renters import Renter, Renters, assert_readme, unchanged

pytestmark = pytest.mark.services

README = {
    1: Renter("MARY SMITH", 32, "2022-08-22T19:03:46Z", 32, "118.68", "2022-07-23T09:13:13.975359Z", "0.99"),
    148: Renter(
        "ELEANOR HUNT", 46, "2022-08-23T04:57:04Z", 46, "216.54", "2022-07-27T07:38:02.694609Z", "4.99"
    ),
    599: Renter(
        "AUSTIN CINTRON", 19, "2022-08-23T10:25:00Z", 19, "83.81", "2022-06-28T05:35:45.255975Z", "1.99"
    ),
}
"""Renters as the README of the sample data has them."""


@pytest.fixture
def renters(pagila_database: str, store: Store) -> Renters:
    return Renters(pagila, pagila_database, store)


@pytest.fixture
def project(renters: Renters, tmp_path: Path) -> Project:
    environment = {"PAGILA_URL": renters.source_url, "STORE_URL": renters.store.url}
    return Project.create(tmp_path / "project", pagila.definitions(renters.store), environment)


def test_the_oracle_gives_the_numbers_of_the_readme(pagila_database: str, tmp_path: Path) -> None:
    assert_readme(Renters(pagila, pagila_database, SqliteStore(tmp_path / "unused.db")).expected(), README)


def test_sync_builds_every_renter_and_a_second_sync_writes_nothing(
    project: Project, renters: Renters
) -> None:
    project.headrace("sync")
    renters.assert_equal()
    assert_readme(renters.actual(), README)

    batches, contents = project.journalled_batches(), renters.store.contents()
    project.headrace("sync")
    assert project.journalled_batches() == batches, "an idle feed journals no batch"
    assert renters.store.contents() == contents, "a second sync changes no row of the store"


def test_records_follow_random_changes_late_commits_and_deletes(project: Project, renters: Renters) -> None:
    """Inserts, updates, moves and commits that come late are there after the next sync; deletes and new
    keys after a reconciliation of their source."""
    project.headrace("sync")
    dice = random.Random(2_407)
    with (
        psycopg.connect(renters.source_url, autocommit=True) as connection,
        psycopg.connect(renters.source_url) as late,
    ):
        changes = pagila.Changes(connection, dice)
        late.execute("UPDATE public.customer SET first_name = 'LATE' WHERE customer_id IN (7, 8)")
        late.execute("UPDATE public.rental SET customer_id = 9 WHERE rental_id = 11")
        connection.execute("UPDATE public.customer SET first_name = 'EARLY' WHERE customer_id = 3")
        connection.execute("UPDATE public.rental SET customer_id = 3 WHERE rental_id = 12")
        project.headrace("sync")
        renters.assert_equal()

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
    for arguments in pagila.RECONCILED:
        project.headrace("reconcile", *arguments)
    renters.assert_equal()
    (verified,) = json.loads(project.headrace("verify", "--json"))["models"]
    assert (verified["differing"], verified["behind"]) == ([], [])
    assert verified["given"] == verified["stored"] == len(renters.actual())

    batches, contents = project.journalled_batches(), renters.store.contents()
    project.headrace("sync")
    assert renters.store.contents().items() >= unchanged(contents).items()
    print(f"{sum(changes.made.values())} changes, {batches} batches: {changes.made}")
