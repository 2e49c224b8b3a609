"""The processes of the Procfile under a supervisor that notes whoever ended without being asked."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Self

from tests.acceptance.procfile import modules
from tests.acceptance.project import Process, Project
from tests.soak.plan import GENTLY

STOP_LIMIT_S: Final = 30.0
STARTED: Final = "process started"


@dataclass(slots=True)
class Fleet:
    """Each process of the Procfile once. Safe between threads.

    Attributes:
        trouble: processes that ended by themselves, or otherwise than asked.
    """

    project: Project
    trouble: list[str] = field(default_factory=list)
    _running: dict[str, Process] = field(default_factory=dict)
    _starts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    @contextmanager
    def of(cls, project: Project) -> Iterator[Self]:
        """Every process started; none is left afterwards."""
        fleet = cls(project)
        try:
            for name in modules():
                fleet._start(name)
            yield fleet
        finally:
            for process in fleet._running.values():
                process.discard()

    @property
    def names(self) -> list[str]:
        return list(modules())

    def pids(self) -> dict[str, int]:
        """Of those that run now."""
        with self._lock:
            return {n: p.popen.pid for n, p in self._running.items() if p.popen.poll() is None}

    def supervise(self) -> None:
        """What has ended by itself runs again."""
        for name, process in list(self._running.items()):
            code = process.popen.poll()
            if code is not None:
                self.trouble.append(f"{name} ended by itself with {code}\n{process.tail()}")
                self._start(name)

    def restart(self, name: str, how: str) -> None:
        """It has ended in this way, and another one was started."""
        process = self._running[name]
        if how != GENTLY:
            process.kill()
        else:
            heard = process.logged(STARTED) == self._starts[name]  # before that nobody listens to signals
            code = process.stop(limit_s=STOP_LIMIT_S)
            if code and (heard or code != -signal.SIGTERM):
                self.trouble.append(f"{name} exited with {code} when it was asked to stop\n{process.tail()}")
        self._start(name)

    def stop(self) -> None:
        """All have ended as they were asked to."""
        for name, process in self._running.items():
            if code := process.stop(limit_s=STOP_LIMIT_S):
                self.trouble.append(f"{name} exited with {code} at the end\n{process.tail()}")

    def _start(self, name: str) -> None:
        module, *arguments = modules()[name]
        process = self.project.start(module, *arguments, name=name)
        with self._lock:
            self._running[name] = process
            self._starts[name] += 1
