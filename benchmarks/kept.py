"""Results in files, one a work, written after each result: a run that was interrupted goes on from there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from benchmarks.outcome import Outcome

PROJECT = Path(__file__).parents[1]
RESULTS = Path("bench-results")
PUBLISHED = PROJECT / "benchmarks" / "results"
"""The results that the documentation shows."""
_MEASURED = ("src", "workers", "producers", "benchmarks")
_DRAWN = ("plots.py", "published.py", "table.py")


def code_digest() -> str:
    """Names the code that is measured and that measures: results of other code are not gone on with."""
    digest = sha256()
    for file in sorted(_code()):
        digest.update(str(file.relative_to(PROJECT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _code() -> Iterator[Path]:
    for part in _MEASURED:
        for file in (PROJECT / part).rglob("*.py"):
            if not (file.parent.name == "benchmarks" and file.name in _DRAWN):
                yield file


def read(work: str, directory: Path = RESULTS) -> Outcome | None:
    """What is kept of the work, if anything."""
    file = directory / f"{work}.json"
    return Outcome.from_json(json.loads(file.read_text())) if file.exists() else None


def write(outcome: Outcome, directory: Path = RESULTS) -> None:
    """Replaces what was kept of the work, whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{outcome.work}.json"
    new = file.with_suffix(".new")
    new.write_text(json.dumps(outcome.as_json(), indent=1) + "\n")
    new.replace(file)
