"""Which modules open connections and which resolve routes: everything else asks them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import headrace

SOURCE = Path(headrace.__file__).parent
ROOT = SOURCE.parent.parent
MODULES = sorted(
    [*SOURCE.rglob("*.py"), *(ROOT / "workers").glob("*.py"), *(ROOT / "producers").glob("*.py")]
)

OPENERS = {
    # data sources
    "stores/postgres.py": {"psycopg.connect"},
    "stores/postgres_reading.py": {"headrace.stores.postgres.connect"},
    "stores/sqlite.py": {"sqlite3.connect"},
    "stores/sqlite_reading.py": {"sqlite3.connect"},
    "stores/connection_test.py": {"headrace.stores.postgres.connect", "sqlite3.connect"},
    "stores/connect.py": {
        "headrace.stores.postgres.PostgresConnections",
        "headrace.stores.postgres_reading.PostgresReading",
        "headrace.stores.sqlite.SqliteConnections",
        "headrace.stores.sqlite_reading.SqliteReading",
    },
    "opening.py": {"headrace.stores.connect.open_store", "headrace.stores.connect.open_record_reader"},
    # the control database
    "control/engine.py": {"sqlalchemy.create_engine"},
    # sources
    "sources/postgres.py": {"psycopg.connect"},
    "sources/postgres_listen.py": {"psycopg.AsyncConnection.connect"},
    "sources/sqlite.py": {"sqlite3.connect"},
    "sources/mysql_connection.py": {"pymysql.connections.Connection"},
    # files of their own, where no customer's records are kept
    "sources/files_spill.py": {"sqlite3.connect"},
    "stores/expectation.py": {"sqlite3.connect"},
    "cli/example_databases.py": {"sqlite3.connect"},
    "cli/demo_scenes.py": {"sqlite3.connect"},
}
"""What opens a connection, or makes what does, by the only modules that may call or inherit it."""

RESOLVERS = {"control/routes.py", "control/route_cache.py"}
"""The only modules that call `domain.routing.resolve`."""

WATCHED = {
    "psycopg.connect", "psycopg.Connection", "psycopg.Connection.connect", "psycopg.AsyncConnection.connect",
    "psycopg.connection.Connection.connect",
    "sqlite3.connect", "sqlite3.Connection", "sqlite3.dbapi2.connect",
    "pymysql.connect", "pymysql.Connect", "pymysql.Connection", "pymysql.connections.Connection",
    "sqlalchemy.create_engine", "sqlalchemy.engine_from_config", "sqlalchemy.create_pool_from_url",
    "sqlalchemy.ext.asyncio.create_async_engine", "sqlalchemy.engine.create_engine",
    *(name for names in OPENERS.values() for name in names),
}  # fmt: skip
UNUSED = (
    "psycopg_pool",
    "psycopg2",
    "asyncpg",
    "aiosqlite",
    "apsw",
    "MySQLdb",
    "duckdb",
    "adbc_driver_manager",
)
"""Libraries that open connections, and that nothing may import."""


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE if path.is_relative_to(SOURCE) else ROOT))


def imported(tree: ast.AST) -> dict[str, str]:
    """The full name of each name that the module imports, wherever it does."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def full_name(node: ast.expr, names: dict[str, str]) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return None
    return ".".join([names[node.id], *reversed(parts)])


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def used(path: Path) -> Iterator[str]:
    """What the module calls, hands on to be called, or inherits: each mention that is no annotation."""
    tree = parsed(path)
    names = imported(tree)
    annotations = {
        id(inner)
        for node in ast.walk(tree)
        for place in ("annotation", "returns")
        if (annotation := getattr(node, place, None)) is not None
        for inner in ast.walk(annotation)
    }
    subscripts = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Subscript)}
    bases = {
        id(b)
        for n in ast.walk(tree)
        if isinstance(n, ast.ClassDef)
        for base in n.bases
        for b in ast.walk(base)
    }
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Name, ast.Attribute)) or id(node) in annotations:
            continue
        if id(node) in subscripts and id(node) not in bases:
            continue  # a type's argument
        if (name := full_name(node, names)) is not None:
            yield name


def test_only_the_listed_modules_open_connections() -> None:
    found = {name_of(path): set(used(path)) & WATCHED for path in MODULES}
    assert {
        name: left for name, openers in found.items() if (left := openers - OPENERS.get(name, set()))
    } == {}


def test_only_routes_and_their_cache_resolve() -> None:
    calls = {name_of(path) for path in MODULES if "headrace.domain.routing.resolve" in set(used(path))}
    assert calls == RESOLVERS


@pytest.mark.parametrize("library", UNUSED)
def test_no_other_library_opens_connections(library: str) -> None:
    importing = [
        name_of(path)
        for path in MODULES
        if any(name.split(".")[0] == library for name in imported(parsed(path)).values())
    ]
    assert importing == []


def test_the_check_sees_what_it_is_there_for(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    for text, expected in {
        "import psycopg\npsycopg.connect('')": "psycopg.connect",
        "import psycopg as pg\npg.Connection.connect('')": "psycopg.Connection.connect",
        "from psycopg import connect as c\nc('')": "psycopg.connect",
        "def f():\n    from sqlite3 import connect\n    return connect": "sqlite3.connect",
        "import pymysql\nclass A(pymysql.connections.Connection): ...": "pymysql.connections.Connection",
        "import sqlalchemy as sa\nopen = sa.create_engine": "sqlalchemy.create_engine",
        "from headrace.domain import routing\nrouting.resolve": "headrace.domain.routing.resolve",
        "from headrace.domain.routing import resolve\nresolve()": "headrace.domain.routing.resolve",
    }.items():
        module.write_text(text)
        parsed.cache_clear()
        assert expected in set(used(module))
    module.write_text("import psycopg\ndef f(c: psycopg.Connection) -> psycopg.Connection: ...")
    parsed.cache_clear()
    assert not set(used(module)) & WATCHED
