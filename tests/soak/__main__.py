"""`make soak SECONDS=1800`: all processes under writers, restarted in turn, sampled each second, and judged.

Writes samples and verdict to DIRECTORY/soak.json, and their plot beside it. Exit code: 0, or 1 when something
is not as promised.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.soak.plan import pace_of
from tests.soak.plot import plot
from tests.soak.soak import soak


def main() -> int:
    arguments = _arguments()
    directory = Path(arguments.directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    print(f"seed {arguments.seed}; logs, samples and plot in {directory}", flush=True)
    soaked = soak(
        directory / "project",
        seed=arguments.seed,
        seconds=arguments.seconds,
        pace=pace_of(arguments.seconds),
        settings={},
        say=lambda line: print(line, flush=True),
    )
    soaked.write(directory / "soak.json")
    plot(directory / "soak.json", directory / "soak.svg")
    print(f"\n{dict(soaked.changes)}, asked and read {soaked.asked} times\n{soaked.verdict}")
    return 1 if soaked.verdict.faults else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the writers")
    parser.add_argument("--seconds", type=float, default=1800.0, help="how long writers write")
    parser.add_argument("--directory", default="build/soak", help="for logs and results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
