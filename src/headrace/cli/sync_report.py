"""Watching a sync, and telling what it did."""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from headrace.cli import screen
from headrace.cli.look import NO_SOURCE, breaker_line
from headrace.cli.problem import tell_failures
from headrace.domain.vocabulary import SourceId
from headrace.errors import Fault, code_apart

if TYPE_CHECKING:
    from headrace.steps.catalogue import Target
    from headrace.steps.limits import Progress
    from headrace.wiring import Application
    from workers.sync import SyncReport

_TOLD_EVERY_ROWS: Final = 500_000
"""A plain line for each so many rows of a source: a long sync shows that it lives."""


def run_watched(app: Application, sources: Sequence[str], *, trigger: str) -> SyncReport:
    """A sync with progress bars on a terminal and plain lines elsewhere."""
    from workers.sync import run_sync

    with watched() as progress:
        return run_sync(app, sources=[SourceId(s) for s in sources], progress=progress, trigger=trigger)


@contextmanager
def watched() -> Iterator[Progress]:
    """Progress bars on a terminal, plain lines elsewhere."""
    if sys.stdout.isatty():
        with _bars() as progress:
            yield progress
    else:
        yield _lines()


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24, pulse_style="cyan"),
        TextColumn("{task.completed:,.0f} rows"),
        TimeElapsedColumn(),
    )
    tasks: dict[str, TaskID] = {}
    lock = threading.Lock()
    with Progress(*columns, console=screen.console(), transient=True) as bars:

        def progress(source: SourceId, rows: int) -> None:
            with lock:
                if source not in tasks:
                    tasks[source] = bars.add_task(source, total=None)
            bars.advance(tasks[source], rows)

        yield progress


def _lines() -> Progress:
    read: dict[str, int] = {}
    lock = threading.Lock()

    def progress(source: SourceId, rows: int) -> None:
        with lock:
            before = read.get(source, 0)
            read[source] = before + rows
            if before // _TOLD_EVERY_ROWS < read[source] // _TOLD_EVERY_ROWS:
                print(f"{source}: {read[source]:,} rows read", file=sys.stderr, flush=True)  # noqa: T201

    return progress


def unclean(app: Application, report: SyncReport) -> bool:
    """A row is rejected, now or since an earlier sync, or a value was set aside."""
    return any(feed.rejected or feed.invalid for feed in report.feeds) or bool(app.runs.rejected(limit=1))


def print_report(
    app: Application, report: SyncReport, *, as_json: bool, told: Collection[Fault] = ()
) -> None:
    """What was read of each source and written to each data source, and what needs a person.

    Args:
        told: what is in the way and is told elsewhere.
    """
    held = _held(app, report)
    if as_json:
        screen.print_json(_as_json(report, held))
    else:
        _print_tables(report)
        for source_id, rows in held.items():
            screen.print_line(breaker_line(source_id, rows), markup=False)
        for source_id, reason in _paused(report).items():
            line = f"{source_id} is paused ({reason}), so it was not read: headrace resume {source_id}"
            screen.print_line(line, markup=False)
        merges = report.merges.values()
        if any(feed.rejected for feed in report.feeds) or any(merge.rejected for merge in merges):
            screen.print_line("Rejected rows, with their reasons: headrace rejected list")
        if any(feed.invalid for feed in report.feeds):
            screen.print_line(
                "Values that did not fit are null. A record's _invalid tells of those of its rows, with the"
                " reason; those of a row that belongs to no record are in none."
            )
    tell_failures(report, told=told)


def _print_tables(report: SyncReport) -> None:
    if not report.feeds:
        screen.print_line(NO_SOURCE)
        return
    one_app = len({feed.source_id for feed in report.feeds}) == len(report.feeds)
    columns = [screen.Column("source"), screen.Column("app", spare=one_app)]
    columns += [screen.Column("rows read", right=True), screen.Column("batches", right=True, spare=True)]
    columns += [screen.Column(n, right=True) for n in ("rejected rows", "rows with invalid values")]
    rows: list[list[Any]] = [
        [f.source_id, f.app_id, f"{f.rows_read:,}", f.batches, f.rejected, f.invalid] for f in report.feeds
    ]
    screen.print_table(columns, rows)
    screen.print_line()
    _print_written(report)
    if report.by_workers:
        batches = screen.counted(sum(report.by_workers.values()), "batch")
        what = f"Running workers merged {batches} meanwhile; what they changed is not counted here."
        screen.print_line(what)


def _print_written(report: SyncReport) -> None:
    written = [
        (target, merge)
        for target, merge in sorted(report.merges.items())
        if merge.counts.changed or merge.rejected
    ]
    if not written:
        if not report.by_workers:
            screen.print_line("No record changed.")
        return
    columns = [screen.Column("data source"), screen.Column("records of")]
    columns += [
        screen.Column(name, right=True) for name in ("inserted", "updated", "deleted", "rejected rows")
    ]
    screen.print_table(
        columns,
        [
            [
                *target,
                *(f"{n:,}" for n in (m.counts.inserted, m.counts.updated, m.counts.deleted, m.rejected)),
            ]
            for target, m in written
        ],
    )


def _paused(report: SyncReport) -> dict[str, str]:
    """Why sources were not read, by source."""
    return {feed.source_id: feed.paused for feed in report.feeds if feed.paused is not None}


def _held(app: Application, report: SyncReport) -> dict[str, int]:
    """Rows that breakers hold, by source, whoever merged what made them."""
    from headrace.errors import HeadraceError

    sources = {feed.feed_id: feed.source_id for feed in report.feeds}
    held: dict[str, int] = {}
    for data_source in dict.fromkeys(target for target, model in app.targets() if model in report.models):
        try:
            rows_of = app.stores.open(data_source).held_rows()
        except HeadraceError:
            continue  # its merge has failed too, and says why
        for feed_id, rows in rows_of.items():
            if feed_id in sources:
                held[sources[feed_id]] = held.get(sources[feed_id], 0) + rows
    return held


def _as_json(report: SyncReport, held: dict[str, int]) -> dict[str, Any]:
    return {
        "sources": [
            {
                "source": feed.source_id,
                "app": feed.app_id,
                "rows_read": feed.rows_read,
                "batches": feed.batches,
                "rejected": feed.rejected,
                "invalid": feed.invalid,
                "held": held.get(feed.source_id, 0),
                "paused": feed.paused,
                "error": _apart(feed.error)[0],
                "error_code": _apart(feed.error)[1],
            }
            for feed in report.feeds
        ],
        "data_sources": [_written_as_json(report, target) for target in sorted(_targets(report))],
    }


def _apart(error: str | None) -> tuple[str | None, str | None]:
    return (None, None) if error is None else code_apart(error)


def _targets(report: SyncReport) -> set[Target]:
    return {*report.merges, *report.by_workers}


def _written_as_json(report: SyncReport, target: Target) -> dict[str, Any]:
    from headrace.steps.merge_report import MergeReport, MergeState

    merge = report.merges.get(target) or MergeReport(state=MergeState.DRAINED)
    return {
        "data_source": target[0],
        "model": target[1],
        "inserted": merge.counts.inserted,
        "updated": merge.counts.updated,
        "deleted": merge.counts.deleted,
        "rejected": merge.rejected,
        "merged_by_workers": report.by_workers.get(target, 0),
        "errors": merge.errors,
    }
