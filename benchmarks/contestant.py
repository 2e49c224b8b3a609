"""Those that are measured: each keeps a table in a database of its own equal to the source's users."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from benchmarks.measured import CommandFailedError, Measured
from benchmarks.outcome import Result

Checksum = tuple[int, int]


class NotInstalledError(Exception):
    """A peer is not on this machine; the text says why."""


class Copy(Protocol):
    """A target that follows one source."""

    def merge(self) -> Measured:
        """Everything that changed since the last merge is in the target, by its key; what that took."""
        ...

    def checksum(self) -> Checksum:
        """Of the target's users."""
        ...


class Contestant(Protocol):
    """One way to do it."""

    @property
    def name(self) -> str: ...

    def begin(self, source_url: str, directory: Path) -> AbstractContextManager[Copy]:
        """An empty target, and files in the directory, which is its own.

        Errors: `NotInstalledError`.
        """
        ...


def measure(contestant: Contestant, copy: Copy, number: int, *, wanted: Checksum) -> Result:
    """Of one merge; when it fails, the others go on."""
    try:
        measured = copy.merge()
    except CommandFailedError as error:
        return absent(contestant, number, error)
    found = copy.checksum()
    note = "" if found == wanted else f"found {found}, not {wanted}"
    return Result(peer=contestant.name, round=number, figures=measured.figures(), equal=not note, note=note)


def absent(contestant: Contestant, number: int, error: NotInstalledError | CommandFailedError) -> Result:
    """It did not take part, and the table says why. One that is not installed makes the run no worse."""
    return Result(
        peer=contestant.name,
        round=number,
        figures={},
        equal=isinstance(error, NotInstalledError),
        note=str(error).strip().splitlines()[-1],
    )
