"""psql alone: binary COPY out, a temporary table, INSERT .. ON CONFLICT. The physical limit of a merge by key
that does nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import users
from benchmarks.database import database, rows, run, settle
from benchmarks.measured import Measured, run_measured
from benchmarks.users import Checksum, Form

PSQL = "psql -X -q -v ON_ERROR_STOP=1"


@dataclass(slots=True)
class ReferenceCopy:
    source_url: str
    target_url: str
    directory: Path
    since: str = field(default="-infinity", init=False)
    """It keeps its position in memory, by what was committed before it began: enough where nobody writes."""

    def merge(self) -> Measured:
        settle(self.target_url)
        until = rows(self.source_url, "SELECT coalesce(max(updated_at)::text, '-infinity') FROM users")[0][0]
        measured = run_measured(
            ["sh", "-c", _pipeline(self.since)],
            directory=self.directory,
            environment={"SOURCE_URL": self.source_url, "TARGET_URL": self.target_url},
            log=self.directory / "reference.log",
        )
        self.since = until
        return measured

    def checksum(self, form: Form = Form.EXACT) -> Checksum:
        return users.checksum(self.target_url, "users", form)


@dataclass(frozen=True, slots=True)
class Reference:
    name: str = "reference"

    @contextmanager
    def begin(self, source_url: str, directory: Path) -> Iterator[ReferenceCopy]:
        with database("reference") as target_url:
            run(target_url, users.TABLE)
            yield ReferenceCopy(source_url, target_url, directory)


def _pipeline(since: str) -> str:
    columns = ", ".join(users.COLUMNS)
    read = f"COPY (SELECT {columns} FROM users WHERE updated_at > '{since}') TO STDOUT (FORMAT binary)"
    return f'{PSQL} -d "$SOURCE_URL" -c "{read}" | {merging("binary")}'


def merging(form: str) -> str:
    """The half that takes rows from its input into the database of TARGET_URL."""
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in users.COLUMNS if name != "id")
    merge = f"INSERT INTO users SELECT * FROM stage ON CONFLICT (id) DO UPDATE SET {changes}"
    return (
        f'{PSQL} -d "$TARGET_URL" -c "CREATE TEMP TABLE stage (LIKE users)"'
        f' -c "COPY stage FROM STDIN (FORMAT {form})" -c "{merge}"'
    )
