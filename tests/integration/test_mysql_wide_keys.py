"""Keys of MySQL that a signed integer cannot hold."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import mysql_connection
from tests.integration.command import Command
from tests.integration.test_files_cli import PROJECT

HIGHEST = 2**64 - 1
Write = Callable[[str], None]


@pytest.fixture
def write(mysql_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes to `users` of the app, which has one key below 2^63 and one above."""
    monkeypatch.chdir(tmp_path)

    def write(statement: str) -> None:
        with closing(mysql_connection(mysql_database)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    for place, body in PROJECT.items():
        file = Path("config") / f"{place}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        app = {"type": "mysql", "url": mysql_database} if place.startswith("apps/") else {}
        file.write_text(json.dumps(body | app))
    write("CREATE TABLE users (id bigint unsigned PRIMARY KEY, name text)")
    write(f"INSERT INTO users VALUES (7, 'low'), ({HIGHEST}, 'high')")
    return write


def define_key(type_: str) -> None:
    properties = {"id": {"type": type_, "column": "id"}, "name": {"type": "string", "column": "name"}}
    source = PROJECT["sources/users"] | {"table": "users", "properties": properties}
    Path("config/sources/users.json").write_text(json.dumps(source))


def names() -> dict[str, str]:
    with closing(sqlite3.connect("store.db")) as store:
        return dict(store.execute("SELECT CAST(id AS text), name FROM users").fetchall())


@pytest.mark.usefixtures("write")
def test_as_an_integer_a_key_above_63_bits_rejects_its_row(headrace: Command) -> None:
    define_key("integer")
    assert headrace("sync").code == 0
    assert names() == {"7": "low"}
    [row] = headrace("rejected", "list", "--json").json
    assert (row["key"], row["code"]) == ([str(HIGHEST)], "key_unfit")


@pytest.mark.parametrize("type_", ["decimal", "string"])
def test_as_a_decimal_or_a_string_it_is_kept_and_followed(
    headrace: Command, write: Write, type_: str
) -> None:
    define_key(type_)
    assert headrace("sync").code == 0
    assert names() == {"7": "low", str(HIGHEST): "high"}
    write("UPDATE users SET name = 'higher' WHERE id > 7")
    write("DELETE FROM users WHERE id = 7")
    assert headrace("sync").code == 0
    assert names() == {str(HIGHEST): "higher"}
    assert headrace("verify").code == 0
