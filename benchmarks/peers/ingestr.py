"""ingestr, merge strategy. It reads a watermark only where one is passed in; else it reads all, again and
again. So it is passed in, as its user would keep it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.database import database, rows
from benchmarks.peers.environment import PeerCopy, program

_BEGINNING = "1970-01-01T00:00:00Z"
_WATERMARK = """
SELECT to_char(max(updated_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM users
"""


@dataclass(frozen=True, slots=True)
class Ingestr:
    name: str = "ingestr 0.15.9"

    @contextmanager
    def begin(self, source_url: str, directory: Path) -> Iterator[PeerCopy]:
        ingestr = program("ingestr", "bin/ingestr")
        with database("ingestr") as target_url:

            def command() -> list[str]:
                return [
                    str(ingestr), "ingest", "--yes", "--progress", "log",
                    "--source-uri", source_url, "--source-table", "public.users",
                    "--dest-uri", target_url, "--dest-table", "public.users",
                    "--incremental-strategy", "merge", "--incremental-key", "updated_at",
                    "--primary-key", "id", "--interval-start", _watermark(target_url),
                ]  # fmt: skip

            yield PeerCopy(target_url, directory, command, "users")


def _watermark(target_url: str) -> str:
    ((there,),) = rows(target_url, "SELECT to_regclass('public.users') IS NOT NULL")
    return (rows(target_url, _WATERMARK)[0][0] if there else None) or _BEGINNING
