"""`python -m benchmarks.published`: what was measured becomes what docs/performance.md shows.

Results of full extent are copied from bench-results/ to benchmarks/results/, the pictures are drawn from
there, and the part of docs/performance.md between its two marks is written anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import kept, plots, table
from benchmarks.outcome import Outcome
from benchmarks.plots import Plot
from benchmarks.work import Work
from benchmarks.works import WORKS

PAGE = kept.PROJECT / "docs" / "performance.md"
PICTURES = kept.PROJECT / "docs" / "pictures"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published", description=__doc__)
    parser.add_argument("--results", type=Path, default=kept.RESULTS)
    publish(parser.parse_args().results, kept.PUBLISHED, pictures=PICTURES, page=PAGE)


def publish(results: Path, published: Path, *, pictures: Path, page: Path) -> None:
    for work in WORKS.values():
        outcome = kept.read(work.name, results)
        if outcome is not None and is_whole(work, outcome):
            kept.write(outcome, published)
    outcomes = {name: outcome for name in WORKS if (outcome := kept.read(name, published)) is not None}
    drawn = plots.draw_all(outcomes, pictures)
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text("\n".join([before + BEGIN, *section(outcomes, drawn), END + after]))


def is_whole(work: Work, outcome: Outcome) -> bool:
    """Of full extent, and every round finished."""
    return outcome.finished > 0 and outcome.extent["count"] == work.full.count


def section(outcomes: Mapping[str, Outcome], drawn: Sequence[Plot]) -> Iterator[str]:
    """Lines of Markdown."""
    if not outcomes:
        return
    yield from _machine(outcomes)
    yield from ("", "## Targets", "")
    pairs = [(WORKS[name], outcome) for name, outcome in outcomes.items()]
    yield from _markdown(table.TARGET_HEAD, list(table.target_rows(pairs)))
    pictures = {plot.name: plot for plot in drawn}
    for name, title in (("W1-peers", "first load"), ("W2-peers", "a tenth of the rows changed")):
        if name in outcomes:
            yield from ("", f"## Beside the peers: {title}", "")
            yield from _beside_peers(outcomes[name])
    if "peers" in pictures:
        yield from _picture(pictures.pop("peers"))
    if pictures:
        yield from ("", "## Growth")
        for plot in pictures.values():
            yield from _picture(plot)


def _machine(outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    latest = max(outcomes.values(), key=lambda outcome: outcome.at)
    dates = sorted({outcome.at[:10] for outcome in outcomes.values()})
    yield ""
    yield f"Measured on {dates[0] if len(dates) == 1 else f'{dates[0]} to {dates[-1]}'}:"
    for line in table.machine_lines(latest.machine):
        yield f"- {line}"


def _beside_peers(outcome: Outcome) -> Iterator[str]:
    head = ("", "x the reference", "seconds", "client CPU s", "peak RSS MiB", "compared")
    rows = []
    for summary in outcome.summaries():
        numbers = [
            table.number(figures[name]) if name in figures else ""
            for figures, name in (
                (summary.ratios, "wall_s"),
                (summary.figures, "wall_s"),
                (summary.figures, "cpu_s"),
                (summary.figures, "peak_rss_mib"),
            )
        ]
        rows.append((summary.peer, *numbers, summary.note or ("equal" if summary.equal else "NOT EQUAL")))
    yield from _markdown(head, rows)


def _picture(plot: Plot) -> Iterator[str]:
    yield from ("", f"![{plot.says}](pictures/{plot.name}.png)")


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _line(head)
    yield _line(["---"] * len(head))
    for row in rows:
        yield _line(row)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    main()
