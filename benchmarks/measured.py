"""A command run as a whole process, with what the operating system says it took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launcher.py")


class CommandFailedError(Exception):
    """A measured command did not succeed: its numbers mean nothing."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run took.

    Attributes:
        wall_s: from just before the process was made until it had been waited for.
        cpu_s: user and system time of it and of the children that it waited for (not of the servers).
        peak_rss_mib: of the biggest single process among them; never less than the launcher's own, some
            10 MiB, which a child inherits for a moment.
    """

    wall_s: float
    cpu_s: float
    peak_rss_mib: float

    def figures(self) -> dict[str, float]:
        return asdict(self)


def run_measured(
    command: Sequence[str], *, directory: Path, environment: Mapping[str, str], log: Path
) -> Measured:
    """Run the command to its end.

    Output goes to `log`. Errors: `CommandFailedError` with the log's end when it exits with other than 0.
    """
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(log), *command]
    told = subprocess.run(
        launcher,
        cwd=directory,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    taken = json.loads(told.stdout)
    code = taken.pop("exit_code")
    if code:
        tail = log.read_text(errors="replace")[-4000:]
        raise CommandFailedError(f"{command[0]} exited with {code}:\n{tail}")
    return Measured(**taken)
