"""Merge workers that a row kills: each is a real process, which ends by SIGKILL when it applies user 42.

Run as a module with the shop's directory; prints how each worker ended, until one ends well.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from headrace import wiring
from headrace.stores.merge import SqlMerge
from tests.conformance.refusing import settings

KILLER = 42
MOST_WORKERS = 40


def merge(directory: Path) -> None:
    """One worker's life."""
    apply_rows = SqlMerge.apply_rows

    def deadly(self: SqlMerge, scope: Any, rows: Any, **options: Any) -> Any:
        if KILLER in rows.column("id").to_pylist():
            os.kill(os.getpid(), signal.SIGKILL)
        return apply_rows(self, scope, rows, **options)

    SqlMerge.apply_rows = deadly  # type: ignore[method-assign]
    with wiring.build(settings(directory), process="test") as app:
        for target in app.targets():
            app.merge(*target)


def main(directory: Path) -> None:
    for _ in range(MOST_WORKERS):
        # A fork, since what a worker imports costs more than what it does. Nothing is connected yet.
        worker = os.fork()
        if worker == 0:
            merge(directory)
            os._exit(0)
        _, status = os.waitpid(worker, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        if status == 0:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
