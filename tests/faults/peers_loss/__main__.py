"""`make peers-loss`: rows lost by the cursors of others and by Headrace, under one load.

Exit code: 0; 1 when Headrace lost a row; 2 when the run is invalid, for the naive cursor lost too few.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.faults.peers_loss.database import DIALECTS
from tests.faults.peers_loss.harness import NAIVE_LOSES_AT_LEAST, Outcome, measure


def main() -> int:
    arguments = _arguments()
    outcomes = []
    for dialect in arguments.database:
        outcomes.append(measure(dialect, seconds=arguments.seconds, seed=arguments.seed))
        print(f"\n{outcomes[-1].table()}", flush=True)
    return exit_code(outcomes)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    if any(outcome.ours for outcome in outcomes):
        print("\nHeadrace lost rows", file=sys.stderr)
        return 1
    if not all(outcome.valid for outcome in outcomes):
        print(f"\ninvalid: the naive cursor lost fewer than {NAIVE_LOSES_AT_LEAST} rows", file=sys.stderr)
        return 2
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make peers-loss", description=__doc__)
    parser.add_argument("--seconds", type=float, default=25.0, help="how long the writers write")
    parser.add_argument("--seed", type=int, default=1, help="of the writers")
    parser.add_argument(
        "--database",
        nargs="+",
        choices=DIALECTS,
        default=DIALECTS,
        help="on which servers",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
