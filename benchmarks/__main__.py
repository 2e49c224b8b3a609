"""`python -m benchmarks`: measure, keep the numbers in bench-results/, print whether targets are met.

Each result is kept as it is there. Run again, it goes on where it was interrupted, as long as neither the
code nor the extent of a work has changed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import kept, machine, table
from benchmarks.database import SERVER_URL
from benchmarks.outcome import Outcome, Result
from benchmarks.project import compile_modules
from benchmarks.work import Extent, Task, Work
from benchmarks.works import SUITES, WORKS

DONE, NOT_EQUAL, ENDED = 0, 1, 143


def main() -> int:
    """0 when every target compared equal to its source, else 1; whether targets are met does not count."""
    arguments = _arguments()
    works = _chosen(arguments)
    compile_modules()
    failed = [work.name for work in works if not _measure(work, arguments)]
    outcomes = [(work, outcome) for work in works if (outcome := kept.read(work.name, arguments.results))]
    _print(outcomes)
    for name in failed:
        print(f"{name} could not be measured to its end", file=sys.stderr)
    return DONE if not failed and all(outcome.equal for _, outcome in outcomes) else NOT_EQUAL


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--work", nargs="+", choices=sorted(WORKS), help="instead of the whole suite")
    parser.add_argument("--suite", choices=SUITES, default="bench")
    parser.add_argument("--rounds", type=int, default=5, help="how often each takes its turn")
    parser.add_argument("--count", type=int, help="rows (or what a work counts), instead of its own")
    parser.add_argument("--small", action="store_true", help="a smoke run: it works, its numbers say nothing")
    parser.add_argument("--again", action="store_true", help="measure anew what was measured already")
    parser.add_argument("--show", action="store_true", help="measure nothing, print what is kept")
    parser.add_argument("--results", type=Path, default=kept.RESULTS, help="a directory, kept out of git")
    return parser.parse_args()


def _chosen(arguments: argparse.Namespace) -> list[Work]:
    if arguments.work:
        return [WORKS[name] for name in arguments.work]
    return [work for work in WORKS.values() if work.suite == arguments.suite]


def _measure(work: Work, arguments: argparse.Namespace) -> bool:
    """The rounds that are not there yet are measured and kept; False when the work broke."""
    if arguments.show:
        return True
    extent = _extent(work, arguments)
    outcome = _begun(work, extent, again=arguments.again, results=arguments.results)
    last = min(arguments.rounds, work.rounds or arguments.rounds)
    done = outcome.finished
    if done >= last:
        _announce(f"{work.name}: {done} rounds are there already (--again measures anew)")
        return True
    outcome.forget_after(done)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        rounds = range(done + 1, last + 1)
        task = Task(extent, rounds, Path(directory), lambda line: _announce(f"{work.name}: {line}"))
        try:
            for result in work.measure(task):
                outcome.finished = max(done, result.round - 1)
                outcome.results.append(result)
                _tell(work, result)
                kept.write(outcome, arguments.results)
        except Exception as error:  # noqa: BLE001 (the other works go on)
            _announce(f"{work.name} broke: {type(error).__name__}: {error}")
            return False
    outcome.finished = last
    kept.write(outcome, arguments.results)
    return True


def _extent(work: Work, arguments: argparse.Namespace) -> Extent:
    extent = work.small if arguments.small else work.full
    return Extent(arguments.count or extent.count, extent.seconds)


def _begun(work: Work, extent: Extent, *, again: bool, results: Path) -> Outcome:
    """What is kept of the same code and extent, or nothing yet."""
    code = kept.code_digest()
    wanted = {"count": extent.count, "seconds": extent.seconds}
    there = None if again else kept.read(work.name, results)
    if there is not None and there.code == code and there.extent == wanted:
        return there
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Outcome(work.name, wanted, code, machine.describe(SERVER_URL), at)


def _announce(line: str) -> None:
    print(line, flush=True)


def _tell(work: Work, result: Result) -> None:
    figures = "  ".join(f"{name} {table.number(value)}" for name, value in result.figures.items())
    compared = "" if result.equal or result.note else "  NOT EQUAL"
    point = f" at {result.point:,.10g}" if result.point else ""
    who = f"{work.name} round {result.round}{point}: {result.peer:28}"
    _announce(f"{who} {figures}{compared} {result.note}".rstrip())


def _print(outcomes: Sequence[tuple[Work, Outcome]]) -> None:
    machines: dict[str, Any] = {outcome.at: outcome.machine for _, outcome in outcomes}
    for described in list(machines.values())[:1]:
        print("", *table.machine_lines(described), sep="\n")
    for work, outcome in outcomes:
        print(*table.outcome_lines(work, outcome), sep="\n")
    rows = list(table.target_rows(outcomes))
    if rows:
        print("", *table.columns(table.TARGET_HEAD, rows), sep="\n", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ENDED))  # databases and processes go as ever
    sys.exit(main())
