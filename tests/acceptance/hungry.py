"""A process of Headrace that takes 300 MiB and then does nothing, until it is asked to stop."""

from __future__ import annotations

import sys

from headrace.process import Process, run


def body(process: Process) -> None:
    held = bytearray(b"x") * (300 * 1024 * 1024)
    process.stop.wait()
    assert held


def main() -> int:
    return run("hungry", body)


if __name__ == "__main__":
    sys.exit(main())
