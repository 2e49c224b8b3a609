"""Acceptance 4: a role with SELECT alone: class shown, 1 to 3 pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest

from tests.acceptance.lossless import scenarios
from tests.acceptance.lossless.conftest import MakeThings
from tests.acceptance.lossless.databases import MysqlDatabase, PostgresDatabase
from tests.acceptance.lossless.things import Database, Things
from tests.servers import PostgresCluster

ROLE = "plain"
Scenario = Callable[[Database, Things], None]


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


@pytest.fixture
def plain_mysql(mysql_things: MysqlDatabase) -> Iterator[MysqlDatabase]:
    """The same of MariaDB, where only who has PROCESS sees the transactions of others."""
    mysql_things.make()
    with mysql_things.session() as root:
        root.run(f"CREATE USER {ROLE}@'%' IDENTIFIED BY ''")
        root.run(f"GRANT SELECT ON {mysql_things.url.rsplit('/', 1)[1]}.* TO {ROLE}@'%'")
        yield replace(mysql_things, role=ROLE)
        root.run(f"DROP USER {ROLE}@'%'")


def test_a_plain_role_of_mariadb_is_eventual_and_says_which_right_makes_it_exact(
    plain_mysql: MysqlDatabase, read: MakeThings
) -> None:
    things = read(plain_mysql)
    with plain_mysql.session() as late, plain_mysql.session() as other:
        other.insert(1, "first")
        late.begin()
        late.insert(2, "late")
        scenarios.overtake(other, things, 3)
        feed_class, reason = things.feed_class()
        assert feed_class == "eventual"
        assert "GRANT PROCESS" in reason
        late.commit()
        things.reconcile(full=True)
        assert things.names() == other.names()


@pytest.mark.parametrize("scenario", [scenarios.late_commit, scenarios.select_then_insert])
def test_a_role_of_mariadb_with_process_is_exact(
    plain_mysql: MysqlDatabase, read: MakeThings, scenario: Scenario
) -> None:
    with plain_mysql.session() as root:
        root.run(f"GRANT PROCESS ON *.* TO {ROLE}@'%'")
    things = read(plain_mysql)
    scenario(plain_mysql, things)
    assert things.feed_class() == ("exact", "")
