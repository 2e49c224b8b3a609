"""Commands run in this process, on the example project in the current directory."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HEADRACE = str(Path(sys.executable).with_name("headrace"))


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ended]


def synced(headrace: Command, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Commands are of the project in the directory, which is synced."""
    monkeypatch.setenv("HEADRACE_CONTROL_URL", f"sqlite:///{directory}/control.db")
    monkeypatch.setenv("HEADRACE_CONFIG_DIR", str(directory / "config"))
    assert headrace("sync").code == 0
    return headrace


def change(path: str, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


def define(place: str, **changes: Any) -> None:
    """Change keys of a definition of the project in the current directory."""
    file = Path("config") / f"{place}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
