"""What MySQL and MariaDB say a relation is: another one once a table that it reads was made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from headrace.ports import Relation
from headrace.sources.mysql import MysqlReader
from tests.conftest import mysql_connection

NOTHING = repr(("", ()))
Execute = Callable[[str], None]
READS = {
    "a table": Relation("users"),
    "a table with a name that files cannot have": Relation("odd-name's"),
    "a table beyond ASCII": Relation("größen"),
    "a view": Relation("adults"),
    "a query": Relation(
        query="SELECT u.id, '`' AS tick FROM users u JOIN `odd-name's` o USING (id) WHERE 1 = 0"
    ),
    "a query of a view": Relation(query="SELECT max(id) AS id FROM adults"),
}


@pytest.fixture
def execute(mysql_database: str) -> Iterator[Execute]:
    with closing(mysql_connection(mysql_database)) as connection, connection.cursor() as cursor:

        def execute(statement: str) -> None:
            cursor.execute(statement)

        for table in ("users", "`odd-name's`", "größen", "others"):
            execute(f"CREATE TABLE {table} (id int PRIMARY KEY, age int)")
        execute("CREATE VIEW grown AS SELECT id, age FROM users WHERE age > 17")
        execute("CREATE VIEW adults AS SELECT id FROM grown")
        yield execute


@pytest.fixture
def plain(mysql_database: str, execute: Execute) -> Iterator[str]:
    """The URL of a user who may read, and see no transactions nor what InnoDB keeps."""
    name, place = f"plain_{uuid4().hex[:8]}", urlsplit(mysql_database)
    execute(f"CREATE USER {name}@'%' IDENTIFIED BY 'p'")
    execute(f"GRANT SELECT, SHOW VIEW ON {place.path[1:]}.* TO {name}@'%'")
    yield f"mysql://{name}:p@{place.hostname}:{place.port or 3306}{place.path}"
    execute(f"DROP USER {name}@'%'")


@pytest.fixture
def told(mysql_database: str) -> Iterator[Callable[..., str]]:
    """What a relation is and reads, as it is told to a session of that URL."""
    with ExitStack() as stack:
        readers: dict[str, MysqlReader] = {}

        def told(relation: Relation, url: str = mysql_database) -> str:
            if url not in readers:
                readers[url] = stack.enter_context(closing(MysqlReader("shop", url, nonce="mine")))
            readers[url].describe(relation)
            identity = readers[url].identity(relation)
            assert identity is not None
            return repr((identity.relation, identity.reads))

        yield told


def make_anew(execute: Execute) -> None:
    for table in ("users", "`odd-name's`", "größen"):
        execute(f"DROP TABLE {table}")
        execute(f"CREATE TABLE {table} (id int PRIMARY KEY, age int)")


def test_it_is_another_one_once_a_table_that_it_reads_was_made_anew(
    execute: Execute, told: Callable[..., str], plain: str
) -> None:
    before = {read: (told(relation), told(relation, plain)) for read, relation in READS.items()}
    assert NOTHING not in {what for both in before.values() for what in both}
    assert "users" in before["a query of a view"][0]
    execute("DO SLEEP(1.1)")  # of those who may not see InnoDB's numbers times are told, in seconds
    make_anew(execute)
    for read, relation in READS.items():
        now = told(relation), told(relation, plain)
        assert now[0] != before[read][0], read
        assert now[1] != before[read][1], f"{read}, without PROCESS"


def test_it_is_the_same_through_what_is_written_and_upkeep(
    execute: Execute, told: Callable[..., str]
) -> None:
    """Other tables may come and go."""
    execute("CREATE TABLE parts (id int) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10))")
    relations = [Relation("users"), Relation("adults"), Relation("parts"), READS["a query"]]
    before = [told(relation) for relation in relations]
    for statement in (
        "INSERT INTO users VALUES (1, 20), (2, 30)",
        "ANALYZE TABLE users",
        "CREATE INDEX by_age ON users (age)",
        "ALTER TABLE users ADD COLUMN note text",
        "ALTER TABLE parts ADD PARTITION (PARTITION p1 VALUES LESS THAN (20))",
        "DROP TABLE others",
        "CREATE TABLE others (id int)",
    ):
        execute(statement)
        assert [told(relation) for relation in relations] == before, statement


def test_a_view_that_may_not_be_shown_hides_its_tables(
    execute: Execute, told: Callable[..., str], plain: str
) -> None:
    user = urlsplit(plain).username
    database = urlsplit(plain).path[1:]
    execute(f"REVOKE SHOW VIEW ON {database}.* FROM {user}@'%'")
    assert told(Relation("adults"), plain) == NOTHING
    assert told(Relation("users"), plain) != NOTHING
