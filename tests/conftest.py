"""Servers for tests: each fixture makes its own database, prefix or vhost and drops it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql
import pytest
import redis
from psycopg import sql

from tests.servers import NotInstalledError

POSTGRES_URL = os.environ.get("HEADRACE_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
REDIS_URL = os.environ.get("HEADRACE_TEST_REDIS_URL", "redis://127.0.0.1:6379")
MYSQL_URL = os.environ.get("HEADRACE_TEST_MYSQL_URL", "mysql://root@127.0.0.1:3306")
RABBITMQ_URL = os.environ.get("HEADRACE_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672")


def missing(service: str, why: object) -> None:
    """Skip the test, saying why; under CI a missing service is a failure."""
    message = f"{service} is not reachable: {why}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """A test whose own server cannot be started for lack of its program is as one whose server is away."""
    return (yield from _own_servers_are_installed())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    return (yield from _own_servers_are_installed())


def _own_servers_are_installed() -> Generator[None, object, object]:
    try:
        return (yield)
    except NotInstalledError as error:
        missing("a server of its own", error)
        raise


@pytest.fixture(scope="session")
def postgres_server() -> str:
    try:
        psycopg.connect(POSTGRES_URL, connect_timeout=3).close()
    except psycopg.OperationalError as error:
        missing("PostgreSQL", error)
    return POSTGRES_URL


def database_url(server: str, name: str) -> str:
    return server.rsplit("/", 1)[0] + "/" + name


@pytest.fixture
def postgres_database(postgres_server: str) -> Iterator[str]:
    """The URL of a fresh database."""
    name = f"headrace_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield database_url(postgres_server, name)
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def mysql_connection(url: str, *, autocommit: bool = True, **arguments: Any) -> pymysql.Connection[Any]:
    """A session of an application, in UTC, for a URL of MySQL or MariaDB."""
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.strip("/")) or None,
        autocommit=autocommit,
        connect_timeout=3,
        charset="utf8mb4",
        init_command="SET time_zone = '+00:00'",
        **arguments,
    )


@pytest.fixture(scope="session")
def mysql_server() -> str:
    """The URL of a MySQL or MariaDB server whose user may do everything, without a database."""
    try:
        mysql_connection(MYSQL_URL).close()
    except pymysql.err.OperationalError as error:
        missing("MySQL or MariaDB", error)
    return MYSQL_URL.rstrip("/")


@pytest.fixture
def mysql_database(mysql_server: str) -> Iterator[str]:
    """The URL of a fresh database."""
    name = f"headrace_test_{uuid.uuid4().hex[:12]}"
    with closing(mysql_connection(mysql_server)) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        yield f"{mysql_server}/{name}"
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")


@pytest.fixture(scope="session")
def redis_server() -> str:
    try:
        with redis.Redis.from_url(REDIS_URL, socket_connect_timeout=3) as client:
            client.ping()
    except redis.RedisError as error:
        missing("Redis", error)
    return REDIS_URL


@pytest.fixture(scope="session")
def rabbitmq_server() -> str:
    import kombu

    try:
        with kombu.Connection(RABBITMQ_URL, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
    except (OSError, kombu.exceptions.OperationalError) as error:
        missing("RabbitMQ", error)
    return RABBITMQ_URL
