"""One mutant: a rule taken out of the code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class StaleMutantError(Exception):
    """The code that a mutant changes is not there any more, or is there twice: mend the mutant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """
    Attributes:
        name: the rule that is broken, in words.
        file: from the root of the checkout.
        before: text that is in the file exactly once.
        after: what it becomes.
        killed_by: tests (ids of pytest), at least one of which fails.
    """

    name: str
    file: str
    before: str
    after: str
    killed_by: tuple[str, ...]

    def apply(self, root: Path) -> None:
        """The file under `root` has the fault.

        Raises:
            StaleMutantError: it cannot be put in.
        """
        path = root / self.file
        text = path.read_text() if path.exists() else ""
        found = text.count(self.before)
        if found != 1:
            raise StaleMutantError(f"{self.name}: {self.file} has its text {found} times, not once")
        path.write_text(text.replace(self.before, self.after))

    def revert(self, root: Path, original: Path) -> None:
        """The file under `root` is as it is in `original`."""
        (root / self.file).write_text((original / self.file).read_text())
