"""`headrace sync`, `up`, `reconcile`, `backfill`, `pause` and `resume`: what makes feeds move."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from headrace.cli.options import Config, Json, SourceId

if TYPE_CHECKING:
    from headrace.domain.vocabulary import FeedId
    from headrace.process import Process
    from headrace.wiring import Application

_BY_A_PERSON: Final = "by headrace pause"


def register(app: typer.Typer) -> None:
    panel = "Run"
    app.command(rich_help_panel=panel)(sync)
    app.command(rich_help_panel=panel)(up)
    panel = "Operate"
    app.command(rich_help_panel=panel)(reconcile)
    app.command(rich_help_panel=panel)(backfill)
    app.command(rich_help_panel=panel)(pause)
    app.command(rich_help_panel=panel)(resume)


def sync(
    source: Annotated[
        list[str] | None, typer.Option("--source", metavar="ID", help="This source alone; may be repeated.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Reconcile too, and read every value again.")] = False,
    reconcile: Annotated[
        bool, typer.Option("--reconcile", help="Reconcile too: find rows that were deleted.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a row was rejected or a value set aside.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Apply the definitions, read what changed in every source, and merge it: all in this process.

    A source that fails does not stop the others; the exit code is then 1. A paused one is left as it is.

    Example: headrace sync --source purchases --reconcile
    """
    from headrace.cli.problem import faults_of, tell_faults
    from headrace.cli.session import named, project
    from headrace.cli.sync_report import print_report, run_watched, unclean

    with project(config) as (app, definitions):
        wanted = source or []
        for source_id in wanted:
            named(definitions.sources, source_id, word="source", directory=definitions.directory)
        applied = app.apply(definitions)
        if full or reconcile:
            for source_id in wanted or definitions.sources:
                app.commands.request_reconcile(source_id, full=full, confirm=False)
        report = run_watched(app, wanted, trigger="sync")
        print_report(app, report, as_json=json, told=faults_of(definitions, applied))
        tell_faults(definitions, applied)
        if report.failed or applied.failed or (strict and unclean(app, report)):
            raise typer.Exit(1)


def up(config: Config = None) -> None:
    """Run everything in this one process until it is stopped: schedules, reading and merging.

    Applies the definitions first; when they change, run `headrace apply`: it follows within a second.
    Metrics and health are served as by the separate processes, on a port that it tells.

    Example: headrace up
    """
    from functools import partial

    from headrace import process, wiring
    from headrace.cli import screen
    from headrace.cli.problem import tell_faults
    from headrace.cli.session import project
    from producers.levels import measuring
    from workers.local import run_all

    with project(config) as (app, definitions):
        applied = app.apply(definitions)
        tell_faults(definitions, applied)
        sources = len({source for source, _ in app.catalogue().plans})

    def body(running: process.Process) -> None:
        screen.print_line(_following(sources, running), markup=False)
        sys.stdout.flush()
        everything = wiring.build(running.settings, process=running.name)
        run_all(running, everything, partial(measuring, everything))

    raise typer.Exit(process.run("up", body))


def _following(sources: int, running: Process) -> str:
    from headrace.cli.screen import counted

    host, port = running.settings.metrics_host, running.metrics_port
    return (
        f"Following {counted(sources, 'source')}, until Ctrl-C. Metrics: http://{host}:{port}/metrics\n"
        f"What you change in {running.settings.config_dir} counts after: headrace apply"
    )


def reconcile(
    source: SourceId,
    full: Annotated[bool, typer.Option("--full", help="Read every value again, not only keys.")] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Remove what an earlier reconciliation's breaker held back.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Compare a source with its data sources: remove what it no longer has, fetch what they lack.

    Example: headrace reconcile purchases --confirm
    """
    from headrace.cli.session import applied
    from headrace.cli.sync_report import print_report, run_watched

    with applied(config) as app:
        _refuse_paused(app, source)
        _asked(app, source, app.commands.request_reconcile(source, full=full, confirm=confirm))
        report = run_watched(app, [source], trigger="reconcile")
        print_report(app, report, as_json=json)
    if report.failed:
        raise typer.Exit(1)


def backfill(
    source: SourceId,
    cursor: Annotated[
        str,
        typer.Option("--from", metavar="CURSOR", help="Its first value, as the source has it."),
    ],
    config: Config = None,
    json: Json = False,
) -> None:
    """Read a source again from a value of its cursor, and merge it: rows that are as they were, too.

    For what was changed without its cursor, or lost in a data source. The audit says who asked for it.

    Example: headrace backfill purchases --from "2026-11-01 00:00:00+00"
    """
    from headrace.cli.group import me
    from headrace.cli.session import applied
    from headrace.cli.sync_report import print_report, run_watched

    with applied(config) as app:
        _refuse_paused(app, source)
        _asked(app, source, app.commands.feeds(source))
        app.backfill(source, cursor, actor=me())
        report = run_watched(app, [source], trigger="backfill")
        print_report(app, report, as_json=json)
    if report.failed:
        raise typer.Exit(1)


def pause(
    source: SourceId,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Told by status.")] = _BY_A_PERSON,
    config: Config = None,
) -> None:
    """Stop polling a source until it is resumed. What was read is still merged.

    Example: headrace pause purchases --reason "the shop is being migrated"
    """
    from headrace.cli import screen
    from headrace.cli.session import applied

    with applied(config) as app:
        _asked(app, source, app.commands.pause(source, reason=reason))
    screen.print_line(f"{source}: paused.")


def resume(source: SourceId, config: Config = None) -> None:
    """Poll a paused source again, at once; whoever paused it.

    Example: headrace resume purchases
    """
    from headrace.cli import screen
    from headrace.cli.session import applied
    from headrace.cli.trigger import nudged

    with applied(config) as app:
        feeds = app.commands.resume(source)
        if not feeds:
            _asked(app, source, app.commands.feeds(source))
        nudged(app, feeds)
    screen.print_line(f"{source}: resumed." if feeds else f"{source}: was not paused.")


def _asked(app: Application, source_id: str, feeds: Sequence[FeedId]) -> Sequence[FeedId]:
    """The feeds that were asked; a fault when the source has none."""
    from headrace.cli.session import applied_source

    if not feeds:
        applied_source(app, source_id)
    return feeds


def _refuse_paused(app: Application, source_id: str) -> None:
    """Raises HeadraceError when no feed of the source is polled, so that nothing would come of a request."""
    from headrace.errors import ErrorCode, HeadraceError

    feeds = [feed for feed in app.status.feed_status() if feed.source_id == source_id]
    if feeds and all(feed.paused for feed in feeds):
        reason = feeds[0].paused_reason
        raise HeadraceError(
            f"{source_id} is paused ({reason}): headrace resume {source_id} first",
            code=ErrorCode.SOURCE_PAUSED,
        )
