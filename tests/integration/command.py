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


def change(path: str, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


def define(place: str, **changes: Any) -> None:
    """Change keys of a definition of the project in the current directory."""
    file = Path("config") / f"{place}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
