"""Acceptance 4: a role with SELECT alone: class shown, 1 to 3 pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from tests.acceptance.lossless import scenarios
from tests.acceptance.lossless.conftest import MakeThings
from tests.acceptance.lossless.databases import PostgresDatabase
from tests.servers import PostgresCluster

ROLE = "plain"


@pytest.fixture
def plain(restartable: PostgresDatabase, cluster: PostgresCluster) -> Iterator[PostgresDatabase]:
    """The same database, read by a role that may do nothing else."""
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {ROLE} LOGIN")
    plain = replace(restartable, role=ROLE)
    plain.make()
    yield plain
    with psycopg.connect(restartable.url, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {ROLE}")
        connection.execute(f"DROP ROLE {ROLE}")


def test_a_plain_role_reads_late_commits(plain: PostgresDatabase, read: MakeThings) -> None:
    things = read(plain)
    scenarios.late_commit(plain, things)
    assert things.feed_class() == ("exact", "")


def test_a_plain_role_reads_what_began_with_a_select(plain: PostgresDatabase, read: MakeThings) -> None:
    scenarios.select_then_insert(plain, read(plain))


def test_a_plain_role_reads_prepared_transactions(
    plain: PostgresDatabase, cluster: PostgresCluster, read: MakeThings
) -> None:
    scenarios.prepared(plain, read(plain), cluster.restart)
