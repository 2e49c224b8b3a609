"""sling: its own binary, mode incremental."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.database import database
from benchmarks.peers.environment import PeerCopy, program

_BINARY = "lib/python*/site-packages/sling_linux_amd64/bin/sling-linux-amd64"


@dataclass(frozen=True, slots=True)
class Sling:
    name: str = "sling 1.4.11"

    @contextmanager
    def begin(self, source_url: str, directory: Path) -> Iterator[PeerCopy]:
        sling = program("sling", _BINARY)
        with database("sling") as target_url:
            command = [
                str(sling), "run", "--src-conn", "SOURCE", "--src-stream", "public.users",
                "--tgt-conn", "TARGET", "--tgt-object", "public.users",
                "--mode", "incremental", "--primary-key", "id", "--update-key", "updated_at",
            ]  # fmt: skip
            environment = {
                "SOURCE": f"{source_url}?sslmode=disable",
                "TARGET": f"{target_url}?sslmode=disable",
                "SLING_DISABLE_TELEMETRY": "TRUE",
            }
            yield PeerCopy(target_url, directory, lambda: command, "users", environment)
