"""The processes of the Procfile, whichever they are, each once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.project import Process, Project

PROCFILE = Path(__file__).parents[2] / "Procfile"
SOON_S = 60.0
RELEASE = "release"


def modules(procfile: Path = PROCFILE) -> dict[str, list[str]]:
    """By process the module whose main it runs, and that one's arguments."""
    found = {}
    for line in procfile.read_text().splitlines():
        name, _, command = line.partition(":")
        program, *arguments = command.split()
        if program == "python":
            assert arguments[0] == "-m", line
            found[name] = arguments[1:]
        else:
            assert program == "headrace", line
            found[name] = ["headrace.cli.main", *arguments]
    assert found.pop(RELEASE) == ["headrace.cli.main", "db", "upgrade"]
    return found


@dataclass
class Running:
    """Processes by name, and where each serves its metrics."""

    processes: dict[str, Process] = field(default_factory=dict)

    def start(self, project: Project, name: str, module: str, *arguments: str) -> None:
        self.processes[name] = project.start(module, *arguments, name=name)

    def addresses(self) -> dict[str, str]:
        """Waits until every process serves its metrics."""
        return {name: f"127.0.0.1:{self._port(process)}" for name, process in self.processes.items()}

    def _port(self, process: Process) -> int:
        deadline = time.monotonic() + SOON_S
        while time.monotonic() < deadline:
            told = process.log.read_text(errors="replace") if process.log.exists() else ""
            for line in told.splitlines():
                if '"metrics are served"' in line:
                    return int(json.loads(line)["port"])
            assert process.popen.poll() is None, f"{process.name} ended\n{process.tail()}"
            time.sleep(0.05)
        raise AssertionError(f"{process.name} serves no metrics\n{process.tail()}")


@contextmanager
def running(project: Project, procfile: Path = PROCFILE, *, prefix: str = "") -> Iterator[Running]:
    """All of them are started, each named with the prefix; none is left afterwards."""
    fleet = Running()
    try:
        for name, (module, *arguments) in modules(procfile).items():
            fleet.start(project, prefix + name, module, *arguments)
        yield fleet
    finally:
        for process in fleet.processes.values():
            process.discard()
