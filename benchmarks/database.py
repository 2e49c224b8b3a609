"""PostgreSQL databases of a benchmark: made, asked, dropped."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

SERVER_URL = os.environ.get("HEADRACE_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


@contextmanager
def database(label: str, *, server_url: str = SERVER_URL) -> Iterator[str]:
    """The URL of a fresh database, dropped afterwards."""
    name = f"headrace_bench_{label}_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield server_url.rsplit("/", 1)[0] + "/" + name
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


def rows(url: str, statement: str, values: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
    """Rows of one SELECT; times in UTC."""
    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        return connection.execute(statement, values).fetchall()


def run(url: str, *statements: str) -> None:
    """Run each statement by itself (so that VACUUM and CHECKPOINT may be among them)."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def settle(url: str) -> None:
    """Write out what earlier work left, so that the next measurement does not pay for it."""
    run(url, "CHECKPOINT")
