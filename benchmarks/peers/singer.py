"""MeltanoLabs' tap-postgres piped into target-postgres with COPY, both Singer programs; the state that the
target prints is what the tap begins with next time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contestant import NotInstalledError
from benchmarks.database import database
from benchmarks.peers.environment import PeerCopy, program, with_password

_PIPE = """
set -eo pipefail
if [ -s state.json ]; then state="--state state.json"; fi
"$TAP" --config tap.json --catalog catalog.json $state | "$TARGET" --config target.json > states.jsonl
if [ -s states.jsonl ]; then tail -n 1 states.jsonl > state.json; fi
"""


@dataclass(frozen=True, slots=True)
class Singer:
    name: str = "tap-postgres | target-postgres"

    @contextmanager
    def begin(self, source_url: str, directory: Path) -> Iterator[PeerCopy]:
        programs = {
            "TAP": str(program("tap", "bin/tap-postgres")),
            "TARGET": str(program("target", "bin/target-postgres")),
        }
        with database("singer") as target_url:
            tap = {"sqlalchemy_url": _driven("psycopg2", source_url), "filter_schemas": ["public"]}
            target = {
                "sqlalchemy_url": _driven("psycopg", target_url),
                "default_target_schema": "public",
                "use_copy": True,
                "load_method": "upsert",
                "activate_version": False,
                "add_record_metadata": False,
                "batch_size_rows": 100_000,
            }
            (directory / "tap.json").write_text(json.dumps(tap))
            (directory / "target.json").write_text(json.dumps(target))
            (directory / "catalog.json").write_text(json.dumps(_catalog(programs["TAP"], directory)))
            yield PeerCopy(target_url, directory, lambda: ["bash", "-c", _PIPE], "users", programs)


def _driven(driver: str, url: str) -> str:
    return with_password(url).replace("postgresql://", f"postgresql+{driver}://")


def _catalog(tap: str, directory: Path) -> dict[str, Any]:
    """What the tap discovers, the users selected by their cursor."""
    command = [tap, "--config", "tap.json", "--discover"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalledError(f"does not run: {done.stderr.strip().splitlines()[-1]}")
    catalog: dict[str, Any] = json.loads(done.stdout)
    for stream in catalog["streams"]:
        stream |= {"replication_method": "INCREMENTAL", "replication_key": "updated_at"}
        for part in stream["metadata"]:
            part["metadata"]["selected"] = True
            if not part["breadcrumb"]:
                part["metadata"]["replication-method"] = "INCREMENTAL"
                part["metadata"]["replication-key"] = "updated_at"
    return catalog
