"""The role for reading: what `prepare` lets it do, what row-level security keeps from it, and what not.

The regressions of PostgreSQL's own traps are here as facts: whoever changes how reads are made meets them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import errors as pg

from headrace.domain.record_query import RecordQuery
from headrace.errors import ConfigurationError, RouteMovedError
from headrace.ports import RecordStore
from headrace.stores.connect import open_record_reader, open_store
from headrace.stores.record_query import SqlRecordReader
from tests.conformance.store_rows import batch, model, primary, scope

USERS = primary({"id": "integer", "name": "string"})
MODEL = model(USERS)
CUSTOMERS = ("acme", "globex")
SET = "SELECT set_config('headrace.customer', 'acme', true)"
NAMES = "SELECT name FROM headrace.users ORDER BY name"


@dataclass(frozen=True)
class Site:
    url: str
    read_url: str
    role: str
    store: RecordStore

    def reading(self, *, autocommit: bool = False) -> psycopg.Connection[tuple[str]]:
        return psycopg.connect(self.read_url, autocommit=autocommit)

    def run(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as owner:
            for statement in statements:
                owner.execute(statement.encode())


@pytest.fixture
def site(postgres_database: str) -> Iterator[Site]:
    """A shared data source of an owner who is no superuser, with a record of each customer."""
    role, owner = (f"headrace_{kind}_{uuid.uuid4().hex[:8]}" for kind in ("reader", "owner"))
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        for name in (role, owner):
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'".encode())
        database = connection.info.dbname
        connection.execute(f'GRANT CREATE ON DATABASE "{database}" TO {owner}'.encode())
    url, read_url = (as_user(postgres_database, name) for name in (owner, role))
    store = opened(url, read_url)
    store.prepare([MODEL])
    for customer in CUSTOMERS:
        put(store, customer)
    yield Site(url, read_url, role, store)
    store.close()
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        for name in (role, owner):
            connection.execute(f"DROP OWNED BY {name} CASCADE".encode())
            connection.execute(f"DROP ROLE {name}".encode())


def as_user(url: str, name: str) -> str:
    return "postgresql://" + f"{name}:secret@" + url.split("://")[1].rpartition("@")[2]


def opened(url: str, read_url: str, *, shared: bool = True) -> RecordStore:
    return open_store(
        data_source_id="main",
        url=url,
        namespace="headrace",
        workspace="w1",
        schema="shop",
        read_url=read_url,
        shared=shared,
    )


def put(store: RecordStore, customer: str) -> None:
    with store.merging(MODEL) as merge:
        assert merge is not None
        merge.apply_rows(
            scope(USERS, customer), batch(USERS, [{"id": 1, "name": f"of {customer}"}], customer)
        )


@pytest.fixture
def reader(site: Site) -> Iterator[SqlRecordReader]:
    made = open_record_reader(
        data_source_id="main",
        url=site.url,
        read_url=site.read_url,
        namespace="headrace",
        workspace="w1",
        schema="shop",
    )
    yield made
    made.close()


def read(reader: SqlRecordReader, customer: str) -> tuple[str, ...]:
    page = reader.page(MODEL, RecordQuery(fields=("name",)), customer=customer, routed_at=1)
    assert reader.one(MODEL, ("1",), ["name"], customer=customer, routed_at=1) == page.items[0]
    return page.items


def test_each_read_sees_its_customer_on_the_same_connection(site: Site, reader: SqlRecordReader) -> None:
    for _ in range(8):  # past where the server makes one plan for all
        assert read(reader, "acme") == ('{"name":"of acme"}',)
        assert read(reader, "globex") == ('{"name":"of globex"}',)


def test_a_read_that_forgets_its_customer_finds_nothing(site: Site) -> None:
    with site.reading() as connection:
        assert connection.execute(NAMES).fetchall() == []
        # After it was set for a transaction the setting is '' and not null: nobody's.
        connection.execute(SET)
        assert connection.execute(NAMES).fetchall() == [("of acme",)]
        connection.commit()
        assert connection.execute("SELECT current_setting('headrace.customer', true)").fetchall() == [("",)]
        assert connection.execute(NAMES).fetchall() == []


def test_the_role_sees_the_mark_of_its_own_customer_alone(site: Site, reader: SqlRecordReader) -> None:
    with site.store.merging(MODEL) as merge:
        assert merge is not None
        merge.drop_customer(scope(USERS, "acme"), "acme", 9)
    with pytest.raises(RouteMovedError):
        read(reader, "acme")
    assert read(reader, "globex") == ('{"name":"of globex"}',)
    with site.reading() as connection:
        assert connection.execute("SELECT * FROM headrace._moved").fetchall() == []


def test_the_owner_merges_and_sees_all_rows(site: Site) -> None:
    assert site.store.count(MODEL) == 2
    put(site.store, "initech")
    with psycopg.connect(site.url) as owner:
        assert len(owner.execute(NAMES).fetchall()) == 3
        # Until FORCE, which is why it is not used: the owner would then merge nothing.
        owner.execute("ALTER TABLE headrace.users FORCE ROW LEVEL SECURITY")
        assert len(owner.execute(NAMES).fetchall()) == 3  # the policy that restricts is the reader's alone


def test_other_roles_see_what_they_saw_before(site: Site, postgres_database: str) -> None:
    analyst = f"headrace_analyst_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {analyst} LOGIN PASSWORD 'secret'".encode())
    try:
        site.run(
            f"GRANT USAGE ON SCHEMA headrace TO {analyst}", f"GRANT SELECT ON headrace.users TO {analyst}"
        )
        with psycopg.connect(as_user(postgres_database, analyst)) as connection:
            assert len(connection.execute(NAMES).fetchall()) == 2
    finally:
        with psycopg.connect(postgres_database, autocommit=True) as connection:
            connection.execute(f"DROP OWNED BY {analyst}".encode())
            connection.execute(f"DROP ROLE {analyst}".encode())


def test_the_role_reads_records_and_nothing_else(site: Site) -> None:
    with site.reading(autocommit=True) as connection:
        for statement in (
            "SELECT * FROM headrace._applied",
            "INSERT INTO headrace.users VALUES ('acme', 2, 'x')",
            "DELETE FROM headrace.users",
            "CREATE TABLE headrace.mine (id int)",
        ):
            with pytest.raises(pg.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_the_reads_own_session_cannot_write_and_ends_in_time(site: Site, reader: SqlRecordReader) -> None:
    read(reader, "acme")
    connections = reader._connections
    with pytest.raises(ConfigurationError, match="read-only"):
        connections.fetch("CREATE TEMP TABLE t (id int)", {}, customer="acme")
    assert connections.fetch("SHOW statement_timeout", {}, customer="acme") == [("30s",)]


def test_the_setting_does_not_stay_on_the_connection(site: Site, reader: SqlRecordReader) -> None:
    """For the session it would: the connection's next user would read as the one before."""
    read(reader, "acme")
    asked = "SELECT current_setting('headrace.customer', true)"
    assert reader._connections.fetch(asked, {}, customer="globex") == [("globex",)]
    with reader._connections._pool.connection() as connection:
        assert connection.execute(asked).fetchall() == [("",)]
        connection.execute("SELECT set_config('headrace.customer', 'acme', false)")
        assert connection.execute(asked).fetchall() == [("acme",)]


def test_set_local_outside_a_transaction_does_nothing(site: Site) -> None:
    with site.reading(autocommit=True) as connection:
        connection.execute("SET LOCAL headrace.customer = 'acme'")
        assert connection.execute(NAMES).fetchall() == []


def test_sql_of_ones_own_gets_out_of_it(site: Site) -> None:
    """Why it is defence in depth, and no barrier."""
    out = "SELECT name FROM headrace.users, (SELECT set_config('headrace.customer', 'globex', true)) AS s"
    with site.reading() as connection:
        connection.execute(SET)
        connection.execute("SET LOCAL enable_seqscan = on")
        connection.execute(out.encode())
        assert connection.execute(NAMES).fetchall() == [("of globex",)]


def test_set_transaction_read_only_can_be_undone_before_the_first_query(site: Site) -> None:
    """Why reads begin in a session that is read-only by default, and previews with a query."""
    with psycopg.connect(site.url) as owner:
        owner.execute("SET TRANSACTION READ ONLY")
        owner.execute("SET TRANSACTION READ WRITE")
        owner.execute("DELETE FROM headrace.users")
        owner.rollback()
        owner.execute("SET TRANSACTION READ ONLY")
        owner.execute("SELECT 1")
        with pytest.raises(pg.ActiveSqlTransaction):
            owner.execute("SET TRANSACTION READ WRITE")
        owner.rollback()


def test_preparing_again_changes_nothing_and_plan_says_what_lacks(site: Site) -> None:
    assert site.store.pending_changes([MODEL]) == ()
    assert site.store.prepare([MODEL]) == ()
    site.run(f"REVOKE SELECT ON headrace.users FROM {site.role}")
    (change,) = site.store.pending_changes([MODEL])
    assert (change.table, change.change) == ("users", f"let role {site.role} read")
    assert site.store.prepare([MODEL]) == (change,)
    assert site.store.pending_changes([MODEL]) == ()


def test_another_role_takes_over_and_the_former_one_reads_no_more(site: Site, postgres_database: str) -> None:
    other = f"headrace_other_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {other} LOGIN PASSWORD 'secret'".encode())
    store = opened(site.url, as_user(postgres_database, other))
    try:
        store.prepare([MODEL])
        with site.reading() as connection, pytest.raises(pg.InsufficientPrivilege):
            connection.execute(NAMES)
        with psycopg.connect(as_user(postgres_database, other)) as connection:
            assert connection.execute(NAMES).fetchall() == []
            connection.execute(SET)
            assert connection.execute(NAMES).fetchall() == [("of acme",)]
    finally:
        store.close()
        with psycopg.connect(postgres_database, autocommit=True) as connection:
            connection.execute(f"DROP OWNED BY {other}".encode())
            connection.execute(f"DROP ROLE {other}".encode())


def test_a_role_that_is_not_there_is_told(site: Site, postgres_database: str) -> None:
    store = opened(site.url, as_user(postgres_database, "headrace_nobody"))
    with pytest.raises(ConfigurationError, match="no role headrace_nobody"):
        store.prepare([MODEL])
    store.close()


def test_a_dedicated_data_source_needs_no_policies(postgres_database: str) -> None:
    store = opened(postgres_database, postgres_database, shared=False)
    store.prepare([MODEL])
    with psycopg.connect(postgres_database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_policies").fetchall() == [(0,)]
    store.close()
