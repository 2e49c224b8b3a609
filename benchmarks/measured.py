"""A command run as a whole process, with what the operating system says it took."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

DONE = 0


class CommandFailedError(Exception):
    """A measured command did not succeed: its numbers mean nothing."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run took.

    Attributes:
        wall_s: from just before the process was made until it had been waited for.
        cpu_s: user and system time of it and of the children that it waited for (not of the servers).
        peak_rss_mib: of the biggest single process among them; never less than this process's own, which
            a child inherits for a moment (some 35 MiB).
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
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != DONE:
        tail = log.read_text(errors="replace")[-4000:]
        raise CommandFailedError(f"{command[0]} exited with {process.returncode}:\n{tail}")
    return Measured(wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime, peak_rss_mib=usage.ru_maxrss / 1024)
