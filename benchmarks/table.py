"""What people read: the one table of targets, and each work's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.outcome import Outcome, Summary
from benchmarks.work import Target, Work


def machine_lines(machine: Mapping[str, Any]) -> list[str]:
    server = machine["postgresql"]
    settings = ", ".join(f"{name} {value}" for name, value in server.items() if name != "server_version")
    size = f"{machine['cores']} cores, {machine['memory_gib']} GiB"
    system = f"{machine['system']}, Python {machine['python']}, load {machine['load_average'][0]}"
    return [
        f"{machine['processor']}, {size}, {system}",
        f"PostgreSQL {server['server_version']}, {settings}",
    ]


TARGET_HEAD = ("work", "what", "target", "measured", "met", "rounds", "compared")


def target_rows(outcomes: Sequence[tuple[Work, Outcome]]) -> Iterator[tuple[str, ...]]:
    """One a target, as in `TARGET_HEAD`."""
    for work, outcome in outcomes:
        compared = "equal" if outcome.equal else "NOT EQUAL"
        for target in work.targets:
            value = outcome.value(target.figure, of=target.of, beside=target.beside)
            met = _met(work, outcome, target, value)
            rounds = str(outcome.rounds)
            yield work.name, target.what, target.limit, shown(target, value), met, rounds, compared


def _met(work: Work, outcome: Outcome, target: Target, value: float | None) -> str:
    if value is None:
        return "-"
    if outcome.extent["count"] != work.full.count:
        return "(less)"
    return "yes" if target.is_met_by(value) else "NO"


def shown(target: Target, value: float | None) -> str:
    return "not measured" if value is None else f"{number(value)}{target.unit or ' x'}"


def number(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines, each column as wide as its widest."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def outcome_lines(work: Work, outcome: Outcome) -> list[str]:
    """Who took part, with medians of all figures and the ratio of the first."""
    summaries = outcome.summaries()
    count = f"{outcome.extent['count']:,.0f}"
    title = f"{work.name} ({count}): {work.title}; medians of {outcome.rounds}"
    lines = _alone(summaries[0]) if len(summaries) == 1 else _beside(summaries)
    return ["", title, *(f"  {line}" for line in lines)]


def _alone(summary: Summary) -> list[str]:
    rows = [(name, number(value)) for name, value in summary.figures.items()]
    return columns(rows[0], rows[1:]) if rows else [summary.note]


def _beside(summaries: Sequence[Summary]) -> list[str]:
    names = list(dict.fromkeys(name for summary in summaries for name in summary.figures))
    points = any(summary.point for summary in summaries)
    head = [*(["at"] if points else []), "", "ratio", *names, "compared"]
    return columns(head, [[*([f"{s.point:,.10g}"] if points else []), *_row(s, names)] for s in summaries])


def _row(summary: Summary, names: Sequence[str]) -> list[str]:
    ratio = next(iter(summary.ratios.values()), None)
    return [
        summary.peer,
        "" if ratio is None else number(ratio),
        *(number(summary.figures[name]) if name in summary.figures else "" for name in names),
        summary.note or ("equal" if summary.equal else "NOT EQUAL"),
    ]
