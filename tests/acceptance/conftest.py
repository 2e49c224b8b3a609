"""Sources and stores of the acceptance tests."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.acceptance import pagila
from tests.acceptance.project import Project
from tests.acceptance.records import PostgresStore, SqliteStore, Store
from tests.acceptance.survival import renters_project

NewDatabase = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def new_database(postgres_server: str) -> NewDatabase:
    """Makes databases: `with new_database(template=...) as url`."""

    @contextmanager
    def make(template: str = "template1") -> Iterator[str]:
        name = f"headrace_test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        try:
            yield postgres_server.rsplit("/", 1)[0] + "/" + name
        finally:
            with psycopg.connect(postgres_server, autocommit=True) as connection:
                connection.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
                )

    return make


def shared(folder: Path) -> None:
    """Skip where the sample data is not there."""
    if not folder.is_dir():
        pytest.skip(f"sample data is missing: ../shared/data/{folder.name}")


@pytest.fixture(scope="session")
def pagila_template(new_database: NewDatabase) -> Iterator[str]:
    """The name of a database with Pagila in it, to be cloned."""
    shared(pagila.FILES)
    with new_database() as url:
        pagila.load(url)
        yield url.rsplit("/", 1)[1]


@pytest.fixture
def pagila_database(new_database: NewDatabase, pagila_template: str) -> Iterator[str]:
    with new_database(template=pagila_template) as url:
        yield url


@pytest.fixture(params=["postgres", "sqlite"])
def store(request: pytest.FixtureRequest, new_database: NewDatabase, tmp_path: Path) -> Iterator[Store]:
    """An empty data source of each dialect."""
    if request.param == "sqlite":
        yield SqliteStore(tmp_path / "store.db")
        return
    with new_database() as url:
        yield PostgresStore(url)


@pytest.fixture
def renters(pagila_database: str, new_database: NewDatabase, tmp_path: Path) -> Iterator[Project]:
    """The project that processes are killed over (`survival`), with databases of its own."""
    with new_database() as store_url, new_database() as control_url:
        yield renters_project(tmp_path / "project", pagila_database, store_url, control_url)
