"""`python -m benchmarks.reconcile_once`: reconcile the source `users` of the project in this directory, and
print the seconds from its request to its last merge."""

from __future__ import annotations

import os
import time
from pathlib import Path

from headrace import wiring
from headrace.domain.vocabulary import SourceId
from headrace.settings import load
from workers.sync import run_sync

USERS = SourceId("users")


def main() -> None:
    """Connections are open and definitions read before the clock starts, as in a worker that runs."""
    os.environ.setdefault("HEADRACE_CONFIG_DIR", str(Path("config")))
    with wiring.build(load(), process="bench") as app:
        run_sync(app, sources=[USERS])
        app.commands.request_reconcile(USERS, full=False, confirm=False)
        began = time.perf_counter()
        report = run_sync(app, sources=[USERS], trigger="reconcile")
        took_s = time.perf_counter() - began
        (feed,) = report.feeds
        changed = sum(merge.counts.changed for merge in report.merges.values())
        if report.failed or changed:
            raise SystemExit(f"not an unchanged source: {report}")
        print(f"{took_s:.4f} {feed.rows_read}")


if __name__ == "__main__":
    main()
