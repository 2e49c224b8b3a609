"""The demo: the first thing that people see."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

HEADRACE = str(Path(sys.executable).with_name("headrace"))
LIMIT_S = 60


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
    # The demo is its own project, whatever the reader's environment says.
    environment["HEADRACE_CONTROL_URL"] = "postgresql://nobody@127.0.0.1:1/nothing"
    if arguments[0] != "demo":
        del environment["HEADRACE_CONTROL_URL"]
    return subprocess.run(
        [HEADRACE, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, float]:
    """The directory that the demo left, what it printed, and how long it took."""
    directory = tmp_path_factory.mktemp("newcomer")
    started = time.monotonic()
    done = run("demo", cwd=directory)
    took_s = time.monotonic() - started
    assert done.returncode == 0, done.stdout + done.stderr
    return directory / "demo-headrace", done.stdout, took_s


def test_the_demo_takes_less_than_a_minute(demo: tuple[Path, str, float]) -> None:
    assert demo[2] < LIMIT_S


def test_the_demo_shows_every_change_followed(demo: tuple[Path, str, float]) -> None:
    printed = demo[1]
    assert printed.count("and no other record changed") == 5
    assert "ada@acme.example  →  ada@analytical.example" in printed
    assert "Two cups  →  Samovar" in printed
    assert "Initech Anvils  →  Initech Aerospace" in printed
    assert "Samovar  →  Two cups" in printed
    assert "user 72" in printed
    assert "\x1b" not in printed


def test_what_the_demo_leaves_equals_its_sources(demo: tuple[Path, str, float]) -> None:
    place = demo[0]
    with closing(sqlite3.connect(place / "stores" / "main.db")) as main:
        main.execute("ATTACH ? AS app", (str(place / "sources" / "app.db"),))
        main.execute("ATTACH ? AS shop", (str(place / "sources" / "shop.db"),))
        main.execute("ATTACH ? AS initech", (str(place / "stores" / "initech.db"),))
        expected = main.execute(
            """SELECT u.tenant, u.id, u.email, a.name,
                      (SELECT count(*) FROM shop.purchases p WHERE p.buyer_id = u.id AND p.tenant = u.tenant)
               FROM app.users u LEFT JOIN app.accounts a ON a.id = u.account_id ORDER BY 1, 2"""
        ).fetchall()
        actual = main.execute(
            """SELECT _customer_id, user_id, email, account_name, purchases FROM main.users
               UNION ALL
               SELECT _customer_id, user_id, email, account_name, purchases FROM initech.users
               ORDER BY 1, 2"""
        ).fetchall()
        assert len(expected) == 299
        assert actual == expected
        assert main.execute("SELECT DISTINCT _customer_id FROM initech.users").fetchall() == [("initech",)]


def test_the_demo_leaves_a_project_to_play_with(demo: tuple[Path, str, float]) -> None:
    place = demo[0]
    assert "headrace status" in (place / "README.md").read_text()
    with closing(sqlite3.connect(place / "sources" / "app.db")) as app, app:
        app.execute("UPDATE users SET name = 'Ada King' WHERE id = 12")
    assert run("status", cwd=place).returncode == 0
    assert run("verify", cwd=place).returncode == 0
    assert run("sync", cwd=place).returncode == 0
    assert "Ada King" in run("records", "users", "12", cwd=place).stdout
    with closing(sqlite3.connect(place / "sources" / "app.db")) as app, app:
        app.execute("UPDATE users SET name = 'Ada Lovelace' WHERE id = 12")


def test_the_shell_finds_the_commands_that_the_demo_names(tmp_path: Path) -> None:
    """Whoever ran `make demo` has activated nothing."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "VIRTUAL_ENV"))}
    environment["PATH"] = os.pathsep.join(
        p for p in os.environ["PATH"].split(os.pathsep) if not (Path(p) / "headrace").exists()
    )
    told = subprocess.run(
        [HEADRACE, "demo", "--fast"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    commands = re.findall(r"^   \$ (.*?)(?:  .*)?$", told[told.index("It is yours") :], re.MULTILINE)
    until_status = commands[: commands.index("headrace status") + 1]
    assert len(until_status) == 3
    typed = subprocess.run(
        ["sh", "-e"],
        input="\n".join(until_status),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert typed.returncode == 0, typed.stderr
    assert "account_users" in typed.stdout
