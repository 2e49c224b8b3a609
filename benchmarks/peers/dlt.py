"""dlt: its sql_database source over connectorx, merged by upsert."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.database import database
from benchmarks.peers.environment import PeerCopy, program, with_password


@dataclass(frozen=True, slots=True)
class Dlt:
    name: str = "dlt 1.31, connectorx"

    @contextmanager
    def begin(self, source_url: str, directory: Path) -> Iterator[PeerCopy]:
        python = program("dlt", "bin/python")
        with database("dlt") as target_url:
            script = Path(__file__).with_name("dlt_pipeline.py")
            urls = (with_password(source_url), with_password(target_url))
            command = [str(python), "-P", str(script), *urls, str(directory / "pipelines")]
            environment = {"RUNTIME__DLTHUB_TELEMETRY": "false"}
            yield PeerCopy(target_url, directory, lambda: command, "users", environment)
