"""`headrace` for scripts that run many commands: each in a fork of one process that has imported everything.

`python -m tests.acceptance.quick_commands SOCKET` serves; `installed` makes a `headrace` that asks it.
"""

from __future__ import annotations

import array
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_ASKING: Final = """\
import array, json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({socket!r})
    asked = json.dumps([os.getcwd(), dict(os.environ), sys.argv[1:]]).encode()
    fds = array.array("i", [0, 1, 2])
    server.sendmsg([asked], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(9) or b"1"))
"""


@contextmanager
def installed(directory: Path) -> Iterator[Path]:
    """A directory for the path, whose `headrace` runs commands quickly.

    Those that stay, `web` and `up`, are the real ones: they can be signalled, and outlive nobody.
    """
    at, bin_ = directory / "commands", directory / "bin"
    bin_.mkdir()
    ask, headrace = directory / "ask.py", bin_ / "headrace"
    ask.write_text(_ASKING.format(socket=str(at)))
    python, real = (
        shlex.quote(str(path)) for path in (sys.executable, Path(sys.executable).parent / "headrace")
    )
    headrace.write_text(
        f'#!/bin/sh\ncase "$1" in web|up) exec {real} "$@";; esac\n'
        f'exec {python} -I -S {shlex.quote(str(ask))} "$@"\n'
    )
    headrace.chmod(0o755)
    command = [sys.executable, "-m", "tests.acceptance.quick_commands", str(at)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield bin_
    finally:
        server.kill()
        server.communicate()


def serve(at: str) -> None:
    """Never returns. One command after the other is begun; they may run side by side."""
    import headrace.cli.app
    import headrace.cli.session
    import headrace.control.schema
    import headrace.wiring  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(at)
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            asker, _ = listener.accept()
            with asker:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _run(asker)


def _run(asker: socket.socket) -> None:
    from headrace.cli.main import main

    text, given, _, _ = asker.recvmsg(1 << 20, socket.CMSG_SPACE(12))
    fds = array.array("i")
    fds.frombytes(given[0][2][:12])
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    while more := asker.recv(1 << 20):
        text += more
    directory, environment, arguments = json.loads(text)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["headrace", *arguments]
    sys.stdin, sys.stdout, sys.stderr = (open(n, "rw"[n > 0], closefd=False) for n in range(3))  # noqa: SIM115
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    asker.send(str(code).encode())
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
