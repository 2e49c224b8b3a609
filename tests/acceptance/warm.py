"""The `headrace` command without its imports: a process that has them forks for each command.

A command runs in a process of its own, with its own arguments, environment and directory, through the same
`main`; only what Python would import again each time is there already. Run as a script this is the server.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path


@cache
def _server() -> tuple[subprocess.Popen[str], threading.Lock]:
    # By its path: nothing of the tests is imported there.
    command = [sys.executable, __file__]
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    atexit.register(server.kill)
    return server, threading.Lock()


def run(arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of `headrace` with these arguments, output captured."""
    server, lock = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as directory, lock:
        out, err = Path(directory) / "out", Path(directory) / "err"
        order = {"arguments": arguments, "cwd": str(cwd), "env": dict(env), "out": str(out), "err": str(err)}
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(["headrace", *arguments], code, out.read_text(), err.read_text())


def _serve() -> None:
    import workers.sync  # noqa: F401 (all that takes long to import)
    from headrace.cli.app import app  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _command(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _command(arguments: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> None:
    """Never returns: ends this process as `headrace` would end."""
    from headrace.cli.main import main

    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, path in ((0, os.devnull), (1, out), (2, err)):
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY
        os.dup2(os.open(path, flags, 0o600), number)
    sys.argv = ["headrace", *arguments]
    code = 1
    try:
        code = main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
