"""`make faults SEED=n`: faults of every kind under writers for ten minutes, and then the oracle.

Exit code: 0; 1 when a record is lost, stale, a ghost, doubled or foreign, when a log tells of a bug, or when
there were fewer faults, or of fewer types, than asked for.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults.campaign import campaign

FAULTS_PER_S = 0.45
"""So that ten minutes have well over 200."""
LEAST_TYPES = 10
LEAST_FAULTS_PER_S = 200 / 600


def main() -> int:
    arguments = _arguments()
    directory = Path(tempfile.mkdtemp(prefix="headrace-faults-"))
    print(f"seed {arguments.seed}; logs in {directory}", flush=True)
    report = campaign(
        directory / "project",
        seed=arguments.seed,
        seconds=arguments.seconds,
        faults=arguments.faults or round(arguments.seconds * FAULTS_PER_S),
        longest_transaction_s=arguments.longest_transaction,
        say=lambda line: print(line, flush=True),
    )
    print(f"\n{report}")
    least = int(arguments.seconds * LEAST_FAULTS_PER_S)
    if report.number < least or report.types < LEAST_TYPES:
        print(f"too few: {least} faults of {LEAST_TYPES} types are asked for", file=sys.stderr)
        return 1
    return 0 if report.verdict is not None and report.verdict.clean and not report.bugs else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the schedule and of the writers")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long faults come")
    parser.add_argument("--faults", type=int, help="how many; 270 in ten minutes unless told otherwise")
    parser.add_argument("--longest-transaction", type=float, default=30.0, metavar="S")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
