"""Where the peers are installed, and what one did in its target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import users
from benchmarks.contestant import NotInstalledError
from benchmarks.database import settle
from benchmarks.kept import PROJECT
from benchmarks.measured import Measured, run_measured
from benchmarks.users import Checksum, Form

ENVIRONMENTS = PROJECT / ".bench-peers"


def program(environment: str, pattern: str) -> Path:
    """The file of a peer's environment that matches.

    Errors: `NotInstalledError` with what the installation said, when that failed.
    """
    root = ENVIRONMENTS / environment
    for file in root.glob(pattern):
        return file
    failed = root / "failed"
    why = failed.read_text().strip().splitlines()[-1:] if failed.exists() else []
    raise NotInstalledError(f"not installed: {why[0] if why else 'run make bench-peers'}")


def with_password(url: str) -> str:
    """Some ask for a password, even where the server trusts everybody."""
    place = urlsplit(url)
    if place.password is not None:
        return url
    user = place.username or "postgres"
    return place._replace(netloc=f"{user}:trusted@{place.hostname}:{place.port or 5432}").geturl()


@dataclass(frozen=True, slots=True)
class PeerCopy:
    """What a command keeps equal to the source.

    Attributes:
        command: what to run now; its own files lie in `directory`.
        table: where the users are in the target.
    """

    target_url: str
    directory: Path
    command: Callable[[], list[str]]
    table: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def merge(self) -> Measured:
        settle(self.target_url)
        return run_measured(
            self.command(),
            directory=self.directory,
            environment={"HOME": str(self.directory), **self.environment},
            log=self.directory / "log",
        )

    def checksum(self, form: Form = Form.EXACT) -> Checksum:
        return users.checksum(self.target_url, self.table, form)
