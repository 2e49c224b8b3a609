"""A clock of a server that a test sets: libfaketime reads it from a file at each question."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import libfaketime

_LIBRARY = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"


@dataclass(frozen=True, slots=True)
class FakedClock:
    """The clock of every process that was started with `environment`."""

    directory: Path

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": str(self.directory / "libfaketime.so"),
            "FAKETIME_TIMESTAMP_FILE": str(self.directory / "time"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set_off(self, seconds: float) -> None:
        """The clock shows so much more than ours, at once."""
        new = self.directory / "new"
        new.write_text(f"{seconds:+.3f}")
        new.chmod(0o644)
        new.replace(self.directory / "time")

    def set_to(self, moment: str) -> None:
        """The clock shows this moment (ISO, UTC) and goes on from there."""
        wanted = datetime.fromisoformat(moment).replace(tzinfo=UTC)
        self.set_off((wanted - datetime.now(UTC)).total_seconds())


@contextmanager
def faked_clock() -> Iterator[FakedClock]:
    """A clock that is right until it is set; servers of other users can read it."""
    with tempfile.TemporaryDirectory(prefix="headrace-clock-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        shutil.copyfile(_LIBRARY, directory / "libfaketime.so")
        (directory / "libfaketime.so").chmod(0o755)
        clock = FakedClock(directory)
        clock.set_off(0)
        yield clock
