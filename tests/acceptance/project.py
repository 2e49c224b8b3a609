"""A project directory as a user has one: definitions, environment, and the `headrace` command.

Everything here goes through what is promised outside: the files of `config/`, the command line, the
processes of the Procfile, and plain SQL on the databases. Nothing of `headrace` is imported.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.acceptance import warm
from tests.conftest import mysql_connection

HEADRACE = str(Path(sys.executable).with_name("headrace"))
COMMAND_LIMIT_S = 120

Definitions = Mapping[str, Mapping[str, Any]]
"""Definitions by `<kind>/<id>`."""


@dataclass
class Project:
    """A directory with `config/`; commands run in it with `environment` and nothing else of HEADRACE_*."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    warm: bool = False
    """Commands and processes are forked from one that has imported them: a second less for each."""

    @classmethod
    def create(
        cls, root: Path, definitions: Definitions, environment: Mapping[str, str], *, warm: bool = False
    ) -> Project:
        root.mkdir(parents=True, exist_ok=True)
        control = {"HEADRACE_CONTROL_URL": sqlite_url(root / "control.db")}
        project = cls(root, {**control, **environment}, warm)
        for place, definition in definitions.items():
            project.define(place, definition)
        return project

    def define(self, place: str, definition: Mapping[str, Any]) -> None:
        file = self.root / "config" / f"{place}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(definition, indent=1))

    def headrace(self, *arguments: str, exit_code: int = 0) -> str:
        """Run `headrace ...`, check its exit code, and return what it printed."""
        run = warm.run if self.warm else _run
        done = run(arguments, cwd=self.root, env=self._whole_environment())
        assert done.returncode == exit_code, (
            f"headrace {' '.join(arguments)} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    def start(self, module: str, *arguments: str, name: str) -> Process:
        """Start `python -m module ...` in the background, its output in `<name>.log`."""
        log = self.root / f"{name}.log"
        if self.warm:
            forked = warm.Forked(module, *arguments, cwd=self.root, env=self._whole_environment(), log=log)
            return Process(module, name, log, forked)
        # As Python runs a module, and the installed command: both end in `main`.
        run = f"import sys; from {module} import main; sys.exit(main())"
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [sys.executable, "-c", run, *arguments],
                cwd=self.root,
                env=self._whole_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return Process(module, name, log, popen)

    def control(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of one SELECT on the control database."""
        return query(self.environment["HEADRACE_CONTROL_URL"], statement)

    def journalled_batches(self) -> int:
        """How many batches were ever journalled: seq is dense in each log, so retention hides none."""
        rows = self.control("SELECT coalesce(sum(seq), 0) FROM feed_log")
        return int(rows[0][0])

    def _whole_environment(self) -> dict[str, str]:
        # Not measured: their coverage is that of faster tests, and tracing slows them.
        foreign = ("HEADRACE_", "COVERAGE_")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        return inherited | self.environment


def _run(arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HEADRACE, *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=COMMAND_LIMIT_S
    )


@dataclass
class Process:
    """A process of the Procfile."""

    module: str
    name: str
    log: Path
    popen: subprocess.Popen[bytes] | warm.Forked

    def kill(self) -> None:
        """SIGKILL: nothing of the process runs after this returns. It must have been alive."""
        assert self.popen.poll() is None, f"{self.name} had died by itself\n{self.tail()}"
        self.popen.send_signal(signal.SIGKILL)
        assert self.popen.wait(timeout=10) == -signal.SIGKILL, self.tail()

    def stop(self, *, limit_s: float) -> int:
        """SIGTERM; the exit code. A process that does not stop in time is killed and fails the test."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            self.popen.kill()
            self.popen.wait(timeout=10)
            message = f"{self.name} did not stop within {limit_s} s of SIGTERM\n{self.tail()}"
            raise AssertionError(message) from error

    def discard(self) -> None:
        """Make sure that it is gone, whatever state the test left it in."""
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait(timeout=10)

    def logged(self, event: str) -> int:
        """How often its log, in JSON, tells of the event."""
        return self.log.read_text(errors="replace").count(f'"event": "{event}"')

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Rows of one SELECT, on whichever database the URL names; times in UTC."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as database:
            return database.execute(statement).fetchall()
    if url.startswith("mysql://"):
        with closing(mysql_connection(url)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())
    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        return connection.execute(statement).fetchall()


def execute(url: str, *statements: str) -> None:
    """Run the statements in one transaction."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as database, database:
            for statement in statements:
                database.execute(statement)
        return
    if url.startswith("mysql://"):
        with closing(mysql_connection(url, autocommit=False)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()
        return
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        for statement in statements:
            connection.execute(statement)
