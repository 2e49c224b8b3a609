"""A fresh data source of each dialect."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from headrace.ports import RecordStore
from headrace.stores import open_store
from tests.conftest import database_url


@pytest.fixture(scope="module")
def store_database(postgres_server: str) -> Iterator[str]:
    """The URL of a PostgreSQL database that the tests of a module share, one namespace at a time."""
    name = f"headrace_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    yield database_url(postgres_server, name)
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    url: str = request.getfixturevalue("store_database")
    yield url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS headrace CASCADE")


@pytest.fixture
def store(store_url: str) -> Iterator[RecordStore]:
    opened = open_store(
        data_source_id="main", url=store_url, namespace="headrace", workspace="w1", schema="shop"
    )
    yield opened
    opened.close()
