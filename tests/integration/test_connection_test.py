"""A data source is tried as it was given, and nothing of the trial stays."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from headrace.errors import RefusedError
from headrace.stores import open_store
from headrace.stores.address import AllowedNetworks
from headrace.stores.allowed_host import AllowedHosts
from headrace.stores.connection_test import ConnectionFacts, check_connection
from tests.conformance.test_record_store_prepare import SHAPE
from tests.conftest import database_url

ME = ("w1", "main", "shop")
HOSTS = AllowedHosts(networks=AllowedNetworks.of(["127.0.0.0/8"]), resolve=lambda name: ["127.0.0.1"])


def tried(url: str, hosts: AllowedHosts = HOSTS, *, namespace: str = "headrace") -> ConnectionFacts:
    return check_connection(
        url, namespace=namespace, identity=ME, pinned=hosts.pinned, wanted=("users", "_applied")
    )


def why(url: str, hosts: AllowedHosts = HOSTS, *, code: str = "connection_failed") -> str:
    with pytest.raises(RefusedError) as caught:
        tried(url, hosts)
    assert caught.value.code == code
    assert "s3cret" not in caught.value.detail
    assert "127.0.0.1" not in caught.value.detail
    return caught.value.detail


def tables(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT schemaname || '.' || tablename FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
    return [name for (name,) in rows]


@pytest.fixture
def plain_role(postgres_database: str) -> Iterator[str]:
    """The URL of a role that may only connect."""
    name = f"headrace_test_{uuid.uuid4().hex[:8]}"
    database = urlsplit(postgres_database).path[1:]
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 's3cret'".encode())
        connection.execute(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC".encode())
    parts = urlsplit(postgres_database)
    yield parts._replace(netloc=f"{name}:s3cret@{parts.hostname}:{parts.port or 5432}").geturl()
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {name}".encode())
        connection.execute(f"DROP ROLE {name}".encode())


def test_an_empty_database_will_do_and_stays_empty(postgres_database: str) -> None:
    found = tried(postgres_database)
    assert not found.namespace_exists
    assert not found.stamped
    assert found.foreign_tables == ()
    assert found.server_version[0].isdigit()
    assert tables(postgres_database) == []
    with psycopg.connect(postgres_database) as connection:
        assert connection.execute("SELECT to_regnamespace('headrace')").fetchone() == (None,)


def test_the_address_that_was_checked_is_what_is_connected(postgres_database: str) -> None:
    parts = urlsplit(postgres_database)
    url = parts._replace(netloc=f"{parts.username}@db.example.com:{parts.port or 5432}").geturl()
    assert tried(url).server_version
    both = replace(HOSTS, resolve=lambda name: ["127.255.0.9", "127.0.0.1"])
    assert tried(url, both).server_version  # the first does not answer, or is the server too
    away = replace(HOSTS, resolve=lambda name: ["10.0.0.1"])
    assert "HEADRACE_ALLOWED_HOSTS" in why(url, away, code="host_not_allowed")


def test_a_store_asks_for_the_address_at_each_connect(postgres_database: str) -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.1"], ["169.254.169.254"]])
    hosts = replace(HOSTS, resolve=lambda name: next(answers))
    parts = urlsplit(postgres_database)
    url = parts._replace(netloc=f"{parts.username}@db.example.com:{parts.port or 5432}").geturl()
    store = open_store(
        data_source_id="main", url=url, namespace="headrace", workspace="w1", schema="shop",
        pinned=hosts.pinned,
    )  # fmt: skip
    with closing(store):
        store.prepare([SHAPE])
        with store.merging(SHAPE) as one, store.merging(SHAPE) as two:
            assert (one is None) != (two is None)
        store.close()
        with pytest.raises(Exception, match="HEADRACE_ALLOWED_HOSTS"):
            store.count(SHAPE)


def test_reasons_tell_what_to_correct_and_nothing_else(postgres_server: str, postgres_database: str) -> None:
    assert "no such database" in why(database_url(postgres_server, "headrace_no_such"))
    assert "no PostgreSQL answers" in why("postgresql://me:s3cret@127.0.0.1:1/store")
    parts = urlsplit(postgres_database)
    nobody = parts._replace(netloc=f"headrace_nobody:s3cret@{parts.hostname}:{parts.port or 5432}")
    assert "refuses this user" in why(nobody.geturl())
    names = replace(HOSTS, resolve=lambda name: (_ for _ in ()).throw(OSError("10.1.2.3 says no")))
    assert "leads to no address" in why("postgresql://gone.example.com/store", names)


def test_what_answers_and_is_no_database_is_not_quoted(tmp_path: Path) -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(64)
                    connection.sendall(b"E\0\0\0\x30SFATAL\0C28P01\0Mthe banner of something inside\0\0")

        threading.Thread(target=answer, daemon=True).start()
        port = server.getsockname()[1]
        assert "banner" not in why(f"postgresql://me:s3cret@127.0.0.1:{port}/store")


def test_a_role_without_rights_is_told_which(plain_role: str, postgres_database: str) -> None:
    assert "GRANT CREATE ON DATABASE" in why(plain_role)
    name, database = urlsplit(plain_role).username, urlsplit(plain_role).path[1:]
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA headrace; GRANT ALL ON SCHEMA headrace TO {name}".encode())
    assert "TEMPORARY" in why(plain_role)
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(f"GRANT TEMPORARY ON DATABASE {database} TO {name}".encode())
    assert tried(plain_role).namespace_exists
    store = open_store(
        data_source_id="main", url=plain_role, namespace="headrace", workspace="w1", schema="shop"
    )
    with closing(store):
        assert store.prepare([SHAPE])  # it needs no more than that
    assert tried(plain_role).stamped


def test_tables_of_others_are_told_and_never_taken(postgres_database: str) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA headrace")
        connection.execute("CREATE TABLE headrace.of_somebody (id integer)")
    assert tried(postgres_database).foreign_tables == ("of_somebody",)
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE VIEW headrace.users AS SELECT 1")
    assert "'users'" in why(postgres_database)


@pytest.mark.parametrize("stamp", [("w2", "main", "shop"), ("w1", "other", "shop"), ("w1", "main", "crm")])
def test_a_database_with_another_stamp_is_refused_without_telling_whose(
    postgres_database: str, tmp_path: Path, stamp: tuple[str, str, str]
) -> None:
    hosts = replace(HOSTS, sqlite_directory=tmp_path)
    for url in (postgres_database, f"sqlite:///{tmp_path}/store.db"):
        store = open_store(
            data_source_id=stamp[1], url=url, namespace="headrace", workspace=stamp[0], schema=stamp[2]
        )
        with closing(store):
            store.prepare([SHAPE])
        told = why(url, hosts)
        assert "another data source's" in told
        assert not any(part in told for part in ("w2", "'other'", "crm"))


def test_a_database_of_another_encoding_is_refused(postgres_server: str) -> None:
    name = f"headrace_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
            " TEMPLATE template0".encode()
        )
    try:
        assert "UTF8" in why(database_url(postgres_server, name))
    finally:
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_a_sqlite_file_is_tried_and_none_is_made(tmp_path: Path) -> None:
    hosts = replace(HOSTS, sqlite_directory=tmp_path)
    assert not tried("sqlite:///new/store.db", hosts).namespace_exists
    assert not (tmp_path / "new").exists()
    with closing(sqlite3.connect(tmp_path / "theirs.db")) as theirs, theirs:
        theirs.execute("CREATE TABLE of_somebody (id integer)")
    found = tried("sqlite:///theirs.db", hosts)
    assert found.foreign_tables == ("of_somebody",)
    assert found.encrypted is None
    (tmp_path / "text.db").write_text("no database at all, but a long text of somebody's" * 20)
    assert "no SQLite database" in why("sqlite:///text.db", hosts)
    with closing(sqlite3.connect(tmp_path / "theirs.db")) as theirs:
        assert theirs.execute("SELECT name FROM sqlite_schema").fetchall() == [("of_somebody",)]
