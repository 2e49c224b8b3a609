"""Those that are measured: each keeps a table in a database of its own equal to the source's users."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from benchmarks.measured import CommandFailedError, Measured
from benchmarks.outcome import Result
from benchmarks.users import Checksum, Form

Wanted = Callable[[Form], Checksum]
"""The checksum of the source."""


class NotInstalledError(Exception):
    """A peer is not on this machine; the text says why."""


class Copy(Protocol):
    """A target that follows one source."""

    def merge(self) -> Measured:
        """Everything that changed since the last merge is in the target, by its key; what that took."""
        ...

    def checksum(self, form: Form = Form.EXACT) -> Checksum:
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


def measure(contestant: Contestant, copy: Copy, number: int, *, wanted: Wanted) -> Result:
    """Of one merge; when it fails, the others go on."""
    try:
        measured = copy.merge()
    except CommandFailedError as error:
        return absent(contestant, number, error)
    equal = copy.checksum() == wanted(Form.EXACT)
    return Result(
        peer=contestant.name,
        round=number,
        figures=measured.figures(),
        equal=equal,
        note="" if equal else _difference(copy, wanted),
    )


def _difference(copy: Copy, wanted: Wanted) -> str:
    if copy.checksum(Form.EMPTY_IS_NULL) == wanted(Form.EMPTY_IS_NULL):
        return "NOT EQUAL: empty texts became null"
    return f"NOT EQUAL: {copy.checksum()}, not {wanted(Form.EXACT)} (rows, checksum)"


def absent(contestant: Contestant, number: int, error: NotInstalledError | CommandFailedError) -> Result:
    """It did not take part, and the table says why. One that is not installed makes the run no worse."""
    return Result(
        peer=contestant.name,
        round=number,
        figures={},
        equal=isinstance(error, NotInstalledError),
        note=str(error).strip().splitlines()[-1],
    )
