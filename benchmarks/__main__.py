"""`python -m benchmarks`: measure, print a table, keep the numbers in bench-results/."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.database import SERVER_URL
from benchmarks.outcome import Outcome
from benchmarks.peers import Headrace, Peer, Reference
from benchmarks.works import WORKS

RESULTS = Path("bench-results")


def main() -> int:
    """0 when every target compared equal to its source, else 1."""
    arguments = _arguments()
    described = machine.describe(SERVER_URL)
    peers: list[Peer] = [Reference(), *(Headrace(control) for control in arguments.control)]
    outcomes = [
        WORKS[work](peers, rows=arguments.rows, rounds=arguments.rounds, announce=_announce)
        for work in arguments.work
    ]
    file = _keep(outcomes, described)
    _print(outcomes, described)
    print(f"\nkept in {file}")
    return 0 if all(outcome.equal for outcome in outcomes) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the users table")
    parser.add_argument("--rounds", type=int, default=3, help="how often each peer runs, alternating")
    parser.add_argument("--work", nargs="+", choices=sorted(WORKS), default=sorted(WORKS))
    parser.add_argument(
        "--control",
        nargs="+",
        choices=["sqlite", "postgres"],
        default=["sqlite"],
        help="control databases of headrace, each a peer of its own",
    )
    return parser.parse_args()


def _announce(line: str) -> None:
    print(line, flush=True)


def _keep(outcomes: list[Outcome], described: dict[str, Any]) -> Path:
    now = datetime.now(UTC)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    body = {
        "at": now.isoformat(timespec="seconds"),
        "machine": described,
        "works": [outcome.as_json() for outcome in outcomes],
    }
    file.write_text(json.dumps(body, indent=1) + "\n")
    return file


def _print(outcomes: list[Outcome], described: dict[str, Any]) -> None:
    server = described["postgresql"]
    print(
        f"\n{described['processor']}, {described['cores']} cores, {described['memory_gib']} GiB,"
        f" {described['system']}, Python {described['python']}, load {described['load_average'][0]};"
        f"\nPostgreSQL {server['server_version']}, "
        + ", ".join(f"{name} {value}" for name, value in server.items() if name != "server_version")
    )
    for outcome in outcomes:
        print(f"\n{outcome.work}, {outcome.rows:,} rows, medians")
        print(f"{'':30}{'seconds':>9}{'ratio':>8}{'client CPU s':>14}{'peak RSS MiB':>14}  compared")
        for summary in outcome.summaries():
            print(
                f"{summary.peer:30}{summary.wall_s:9.2f}{summary.ratio:8.2f}{summary.cpu_s:14.2f}"
                f"{summary.peak_rss_mib:14.0f}  {'equal' if summary.equal else 'NOT EQUAL'}"
            )


if __name__ == "__main__":
    sys.exit(main())
