"""The `headrace` command and the processes without their imports: a process that has them forks for each.

Each runs in a process of its own, with its own arguments, environment and directory, through the same
`main`; only what Python would import again each time is there already. Run as a script this is the server.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn


@dataclass(frozen=True, slots=True)
class _Server:
    """A process that forks as it is told; it answers one order at a time."""

    popen: subprocess.Popen[str]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def order(self, **order: object) -> int:
        with self.lock:
            assert self.popen.stdin is not None
            assert self.popen.stdout is not None
            self.popen.stdin.write(json.dumps(order) + "\n")
            self.popen.stdin.flush()
            return int(self.popen.stdout.readline())

    def end(self) -> None:
        self.popen.kill()
        self.popen.communicate()


@cache
def _server(_purpose: Literal["commands", "processes"]) -> _Server:
    """One of its own for processes: their starts do not wait for a command to end."""
    # By its path: nothing of the tests is imported there.
    command = [sys.executable, __file__]
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    serving = _Server(popen)
    atexit.register(serving.end)
    return serving


class Forked:
    """A process that runs `module`'s `main`; as `subprocess.Popen`, as far as tests use it."""

    def __init__(self, module: str, *arguments: str, cwd: Path, env: Mapping[str, str], log: Path) -> None:
        self._server = _server("processes")
        self._module = module
        place = {"cwd": str(cwd), "env": dict(env), "out": str(log), "err": str(log)}
        self.pid = self._server.order(module=module, arguments=arguments, **place)
        self._descriptor = os.pidfd_open(self.pid)  # it stays a zombie, and its number its own, until reaped
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._descriptor], [], [], 0)[0]:
            self._reap()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._descriptor], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self._module, timeout or 0.0)
            self._reap()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _reap(self) -> None:
        self.returncode = self._server.order(reap=self.pid)
        os.close(self._descriptor)


def run(arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of `headrace` with these arguments, output captured."""
    with tempfile.TemporaryDirectory() as directory:
        out, err = Path(directory) / "out", Path(directory) / "err"
        order = {"arguments": arguments, "cwd": str(cwd), "env": dict(env), "out": str(out), "err": str(err)}
        code = _server("commands").order(**order)
        return subprocess.CompletedProcess(["headrace", *arguments], code, out.read_text(), err.read_text())


def _serve() -> None:
    import producers.scheduler  # noqa: F401
    import workers.fetch
    import workers.merge
    import workers.sync  # noqa: F401 (all that takes long to import)
    from headrace.cli.app import app

    app()

    for line in sys.stdin:
        order = json.loads(line)
        if "reap" in order:
            print(_reaped(order["reap"]), flush=True)
            continue
        if "web" in order.get("arguments", ()):
            import headrace.web.server  # noqa: F401 (as above, where it is needed)
        child = os.fork()
        if child == 0:
            _run(_process if "module" in order else _command, order)
        print(child if "module" in order else _reaped(child), flush=True)


def _reaped(child: int) -> int:
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _command(order: Mapping[str, Any]) -> int:
    from headrace.cli.main import main

    sys.argv = ["headrace", *order["arguments"]]
    return main()


def _process(order: Mapping[str, Any]) -> int:
    sys.argv = [order["module"], *order["arguments"]]
    code: int = importlib.import_module(order["module"]).main()
    return code


def _run(body: Callable[[Mapping[str, Any]], int], order: Mapping[str, Any]) -> NoReturn:
    """Ends this process as the command or the process would end."""
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    random.seed()  # or every fork would throw the dice of the first
    for number, path in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY
        os.dup2(os.open(path, flags, 0o600), number)
    code = 1
    try:
        code = body(order)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
