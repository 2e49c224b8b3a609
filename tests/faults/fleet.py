"""The processes of the Procfile under a supervisor, which starts again what has died."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.acceptance import campaign
from tests.acceptance.campaign import MODULES
from tests.acceptance.project import Process, Project

STOP_LIMIT_S = 25.0
BUGS = ('"process failed with a bug"', "InvariantError", "a bug of Headrace", "Traceback (most recent")
NOT_OURS = '"logger": "dramatiq'
"""dramatiq tells with tracebacks of a Redis that went away under it; what matters is what comes of it."""


def bugs_in(directory: Path) -> list[str]:
    """Lines of the logs there that tell of a bug."""
    return [
        f"{log.stem}: {line[:2000]}"
        for log in sorted(directory.glob("*.log"))
        for line in log.read_text(errors="replace").splitlines()
        if any(mark in line for mark in BUGS) and NOT_OURS not in line
    ]


@dataclass
class Fleet(campaign.Fleet):
    """All processes; a frozen one stays so until it is thawed.

    Attributes:
        leaving: asked to stop, with another in their place already.
        ended: how processes ended that nobody had killed: exit codes by name.
    """

    leaving: list[Process] = field(default_factory=list)
    ended: list[tuple[str, int]] = field(default_factory=list)
    _frozen: set[str] = field(default_factory=set)

    @classmethod
    @contextmanager
    def of(cls, project: Project) -> Iterator[Self]:
        """Every process started; none is left afterwards."""
        fleet = cls(project)
        try:
            for name in MODULES:
                fleet.start(name)
            yield fleet
        finally:
            for process in (*fleet.running.values(), *fleet.leaving):
                process.discard()

    def supervise(self) -> None:
        """What has died by itself runs again, as a supervisor sees to it."""
        for name, process in list(self.running.items()):
            code = process.popen.poll()
            if code is not None:
                self.ended.append((name, code))
                self.start(name)

    def kill(self, name: str) -> None:
        self.supervise()
        self._frozen.discard(name)
        self.kill_and_restart(name)

    def freeze(self, name: str) -> None:
        self.supervise()
        self._frozen.add(name)
        self.running[name].popen.send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """It goes on where it was, unless it was killed meanwhile."""
        if name in self._frozen:
            self._frozen.discard(name)
            self.running[name].popen.send_signal(signal.SIGCONT)

    def replace(self, name: str) -> None:
        """It is asked to stop, and another one runs at once."""
        self.supervise()
        old = self.running[name]
        old.popen.send_signal(signal.SIGTERM)
        self.leaving.append(old)
        self.start(name)

    def stop_all(self) -> dict[str, int]:
        """Exit codes after SIGTERM by process; those that left before must have ended well too."""
        codes = self.stop()
        for process in self.leaving:
            codes[f"{process.name} (replaced)"] = process.stop(limit_s=STOP_LIMIT_S)
        self.leaving.clear()
        return codes

    def bugs(self) -> list[str]:
        return bugs_in(self.project.root)

    def count_logged(self, event: str) -> int:
        """Lines of the logs with this event."""
        return sum(
            line.count(f'"event": "{event}"')
            for log in self.project.root.glob("*.log")
            for line in log.read_text(errors="replace").splitlines()
        )
