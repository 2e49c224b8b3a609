"""The first minutes of somebody who has a database: the README's commands, from an empty directory, and each
error that may stand in the way."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from tests.acceptance.new_user import commands
from tests.acceptance.project import execute
from tests.integration.waiting import until
from tests.servers import PostgresCluster, postgres_cluster

HEADRACE: Final = Path(sys.executable).with_name("headrace")
MOST_COMMANDS: Final = 8
LIMIT_S: Final = 60.0
USERS: Final = 1000

_DATABASE: Final = (
    "CREATE TABLE users (id int PRIMARY KEY, email text, updated_at timestamptz NOT NULL DEFAULT now())",
    "CREATE INDEX ON users (updated_at, id)",
    f"INSERT INTO users SELECT g, 'user' || g || '@example.com' FROM generate_series(1, {USERS}) g",
    "CREATE TABLE slow (id int PRIMARY KEY, updated_at timestamptz NOT NULL DEFAULT now())",
    "CREATE TABLE log (line text)",
    "CREATE TABLE closed (id int PRIMARY KEY)",
    "CREATE ROLE reader LOGIN PASSWORD 'secret'",
    "GRANT SELECT ON users, slow, log TO reader",
)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresCluster]:
    """A server with a database `app`, whose user `reader` needs the password `secret`."""
    with postgres_cluster() as cluster:
        hba = cluster.directory / "data" / "pg_hba.conf"
        hba.write_text("host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        with psycopg.connect(cluster.url, autocommit=True) as owner:
            owner.execute("SELECT pg_reload_conf()")
            owner.execute("CREATE DATABASE app")
        execute(cluster.database_url("app"), *_DATABASE)
        yield cluster


def _environment(**more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "MY_DB"))}
    return ours | {"PATH": f"{HEADRACE.parent}{os.pathsep}{ours['PATH']}", **more}


# --- the way ------------------------------------------------------------------------------------


def test_a_new_user_has_followed_records_after_eight_commands_and_a_minute(
    server: PostgresCluster, tmp_path: Path
) -> None:
    setup, *rest, last = commands()
    assert len([setup, *rest, last]) <= MOST_COMMANDS
    assert (setup, last) == (
        "make setup && . .venv/bin/activate",
        "headrace up",
    )  # these tests run in such a one
    typed = "\n".join(rest).replace("db.example.com", f"127.0.0.1:{server.port}")
    assert f":{server.port}/app" in typed

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        ["bash", "-e"], input=typed, cwd=tmp_path, env=_environment(), capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Wrote config/sources/users.json and config/models/users.json" in ended.stdout
    assert "every database answers and fits" in ended.stdout
    project = tmp_path / "my-project"
    environment = _environment(MY_DB_URL=url(server))
    assert _emails(project) == {n: f"user{n}@example.com" for n in range(1, USERS + 1)}
    _follows(server, project, environment)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    machine_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    assert machine_s < LIMIT_S


def _follows(server: PostgresCluster, project: Path, environment: dict[str, str]) -> None:
    """`up` brings a change, and ends when it is asked to."""
    source = project / "config" / "sources" / "users.json"
    body = json.loads(source.read_text())
    source.write_text(
        json.dumps(body | {"schedule": body["schedule"] | {"every": "1s"}})
    )  # and not in a minute
    following = subprocess.Popen(
        [HEADRACE, "up"],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert following.stdout is not None
        assert following.stdout.readline().startswith("Following 1 source, until Ctrl-C.")
        execute(
            server.database_url("app"),
            "UPDATE users SET email = 'new@example.com', updated_at = now() WHERE id = 7",
        )
        until(lambda: _emails(project)[7] == "new@example.com", LIMIT_S)
        following.send_signal(signal.SIGINT)
        _, errors = following.communicate(timeout=LIMIT_S)
        assert following.returncode == 0, errors
    finally:
        following.kill()
        following.wait()


def _emails(project: Path) -> dict[int, str]:
    with closing(sqlite3.connect(project / "stores" / "main.db")) as store:
        return dict(store.execute("SELECT id, email FROM users").fetchall())


# --- what may stand in the way ------------------------------------------------------------------


def url(server: PostgresCluster, *, password: str = "secret", database: str = "app") -> str:
    return f"postgresql://reader:{password}@127.0.0.1:{server.port}/{database}"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `init --app postgres` leaves it; the current directory."""
    monkeypatch.chdir(tmp_path)
    assert headrace("init", "--app", "postgres").returncode == 0
    return tmp_path


def headrace(*arguments: str, my_db_url: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = _environment() if my_db_url is None else _environment(MY_DB_URL=my_db_url)
    return subprocess.run([HEADRACE, *arguments], env=environment, capture_output=True, text=True)


def refused(*arguments: str, my_db_url: str | None, code: int) -> str:
    """The only line that is told."""
    ended = headrace(*arguments, my_db_url=my_db_url)
    assert (ended.returncode, ended.stderr.count("\n")) == (code, 1), ended.stderr
    return ended.stderr.strip()


def test_a_missing_environment_variable_is_told_by_its_name(project: Path) -> None:
    for arguments in (("discover", "my_db"), ("validate",), ("sync",)):
        told = refused(*arguments, my_db_url=None, code=2)
        assert told.startswith(
            "config/apps/my_db.json:url: the environment variable MY_DB_URL is not set; set it"
        )


@pytest.mark.parametrize(
    ("wrong", "code", "says", "mend"),
    [
        (
            {"password": "wrong"},
            2,
            "password authentication failed",
            "correct the user or password in the app's URL",
        ),
        (
            {"password": "password"},  # a word of the server's refusal, and taken out of it
            2,
            "*** authentication failed",
            "correct the user or password in the app's URL",
        ),
        (
            {"database": "ap"},
            2,
            'database "ap" does not exist',
            "correct the database or user in the app's URL",
        ),
    ],
)
def test_a_login_that_is_refused_says_what_to_correct(
    server: PostgresCluster, project: Path, wrong: Any, code: int, says: str, mend: str
) -> None:
    told = refused("discover", "my_db", my_db_url=url(server, **wrong), code=code)
    assert told.startswith("my_db: ")
    assert says in told
    assert mend in told
    assert told.endswith("[source_login_refused]")
    assert "secret" not in told
    assert "wrong" not in told


@pytest.mark.parametrize(
    ("address", "mend"),
    [
        ("127.0.0.1:1", "Is the server running on that host and accepting TCP/IP connections?"),
        ("db.invalid", "is the host's name right, and known on this machine?"),
    ],
)
def test_a_host_that_cannot_be_reached_says_what_to_look_at(project: Path, address: str, mend: str) -> None:
    away = f"postgresql://reader:secret@{address}/app"
    told = refused("discover", "my_db", my_db_url=away, code=1)
    assert told.startswith("failed: my_db: ")
    assert mend in told
    assert told.endswith("[source_unavailable]")


def test_a_table_that_is_not_there_names_the_nearest_one(server: PostgresCluster, project: Path) -> None:
    told = refused("discover", "my_db", "usrs", "--write", my_db_url=url(server), code=2)
    nearest = 'the nearest existing name is "public.users"'
    assert told == f'my_db: table "usrs" does not exist; {nearest} [table_missing]'
    assert headrace("discover", "my_db", "users", "--write", my_db_url=url(server)).returncode == 0
    source = Path("config/sources/users.json")
    source.write_text(source.read_text().replace("public.users", "public.user"))
    told = headrace("validate", "--connect", my_db_url=url(server))
    assert told.returncode == 2
    assert f'table "public.user" does not exist; {nearest}' in told.stderr


def test_a_table_that_may_not_be_read_says_which_right_is_missing(
    server: PostgresCluster, project: Path
) -> None:
    assert headrace("discover", "my_db", "users", "--write", my_db_url=url(server)).returncode == 0
    source = Path("config/sources/users.json")
    body = json.loads(source.read_text())
    one = {"id": body["properties"]["id"]}
    source.write_text(json.dumps(body | {"table": "closed", "schedule": {"every": "1m"}, "properties": one}))
    told = headrace("sync", my_db_url=url(server))
    assert told.returncode == 1
    assert "permission denied for table closed; GRANT SELECT on what the source reads" in told.stderr


def test_what_a_table_lacks_is_told_with_how_to_mend_it(server: PostgresCluster, project: Path) -> None:
    slow = headrace("discover", "my_db", "slow", "--write", my_db_url=url(server))
    statement = 'CREATE INDEX CONCURRENTLY ON public.slow ("updated_at", "id")'
    assert slow.returncode == 0
    assert (
        f"No index begins with updated_at: each poll would scan the whole table. {statement}" in slow.stdout
    )
    assert 'say so: "clock": "database" in its schedule' in slow.stdout

    log = headrace("discover", "my_db", "log", "--write", my_db_url=url(server))
    assert log.returncode == 0
    assert 'name in "key" the columns that tell its rows apart' in log.stdout
    assert "No column says when a row changed, so it is read whole at each poll. Add one" in log.stdout
    assert "config/sources/log.json:key: is empty; name the column" in refused(
        "validate", my_db_url=url(server), code=2
    )

    with psycopg.connect(server.database_url("app"), autocommit=True) as owner:
        owner.execute(statement)  # type: ignore[call-overload]
    Path("config/sources/slow.json").unlink()
    again = headrace("discover", "my_db", "slow", "--write", my_db_url=url(server))
    assert again.stdout.startswith("Wrote config/sources/slow.json.\n")  # its model is there
    assert "No index" not in again.stdout


def test_nothing_is_overwritten(server: PostgresCluster, project: Path) -> None:
    assert headrace("discover", "my_db", "users", "--write", my_db_url=url(server)).returncode == 0
    mine = Path("config/sources/users.json")
    mine.write_text("{}")
    told = refused("discover", "my_db", "users", "--write", my_db_url=url(server), code=2)
    assert told.startswith(
        "config/sources/users.json: exists already, and is kept: remove or rename it first"
    )
    assert mine.read_text() == "{}"
    assert "config exists already" in refused("init", "--app", "postgres", my_db_url=None, code=2)
