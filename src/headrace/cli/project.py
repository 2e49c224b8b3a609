"""`headrace init`, `validate`, `plan` and `apply`: the definitions, from nothing to applied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from headrace.cli.options import Config, Json
from headrace.cli.problem import faults_of, tell_faults

if TYPE_CHECKING:
    from headrace.definition.definitions import Definitions
    from headrace.definition.difference import Difference
    from headrace.steps.apply import ApplyReport
    from headrace.steps.promises import FeedPromise
    from headrace.wiring import Application

AppType = Literal["postgres", "mysql", "sqlite", "files"]


def register(app: typer.Typer) -> None:
    panel = "Set up"
    app.command(rich_help_panel="Start here")(init)
    app.command(rich_help_panel=panel)(validate)
    app.command(rich_help_panel=panel)(plan)
    app.command(rich_help_panel=panel)(apply)


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to start the project.")] = Path(),
    app: Annotated[
        AppType | None,
        typer.Option("--app", help="With an app of this type, whose URL is in the environment."),
    ] = None,
    example: Annotated[
        bool, typer.Option("--example", help="With the demo's definitions and its two small databases.")
    ] = False,
) -> None:
    """Start a project: a config directory, to be filled or with a runnable example.

    Nothing that exists is overwritten.

    Example: headrace init my-project --app postgres
    """
    from headrace.cli.skeleton import copy_example, write_skeleton
    from headrace.errors import ConfigurationError

    if example and app:
        raise ConfigurationError("--example has apps of its own: give --example or --app")
    if example:
        copy_example(directory)
    else:
        write_skeleton(directory, app)
    _tell_next(directory, app, example=example)


def _tell_next(directory: Path, app_type: AppType | None, *, example: bool) -> None:
    from headrace.cli import screen
    from headrace.cli.skeleton import APP_ID, URL_EXAMPLES, URL_NAME

    inside = "" if directory == Path() else f"cd {directory} && "
    screen.print_line(f"Made {directory / 'config'}.\n")
    if example:
        screen.print_line(f"Next: [bold]{inside}headrace sync[/], then [bold]headrace records users[/].")
        return
    file = directory / "config" / "apps" / f"{APP_ID}.json"
    if app_type is None:
        screen.print_line(f"Next: write [bold]{file}[/] (init --app would have):")
        body = f'{{"name": "My database", "type": "postgres", "url": "${{{URL_NAME}}}"}}'
        screen.print_line(f"  {body}", markup=False)
    else:
        screen.print_line(f"Next: [bold]{file}[/] takes its URL from the environment;")
    screen.print_line("say where it is, and [bold]discover[/] shows what it offers and writes a source:")
    lines = (
        f"export {URL_NAME}={URL_EXAMPLES[app_type or 'postgres']}",
        f"{inside}headrace discover {APP_ID}",
        f"headrace discover {APP_ID} TABLE --write",
    )
    for line in lines:
        screen.print_line(f"  {line}", markup=False)


def validate(
    connect: Annotated[
        bool, typer.Option("--connect", help="Ask every database too: does it answer, do the columns fit?")
    ] = False,
    config: Config = None,
) -> None:
    """Check every definition, and tell all faults at once as file:path.to.key: what is wrong.

    Example: headrace validate --connect
    """
    from headrace.cli import screen
    from headrace.cli.exit_code import FAILED, MISUSED
    from headrace.cli.session import application, definitions_of, settings_for

    definitions = definitions_of(settings_for(config))
    if connect:
        with application(config) as app:
            app.upgrade()
            report = app.plan(definitions)
            promised = [] if report.failed else app.promises(definitions)
        if report.failed:
            tell_faults(definitions, report)
            raise typer.Exit(MISUSED if report.faults else FAILED)
        tell_faults(definitions, report)
        _print_promises(promised)
    counts = ", ".join(
        screen.counted(len(known), word)
        for known, word in (
            (definitions.apps, "app"),
            (definitions.sources, "source"),
            (definitions.models, "model"),
            (definitions.data_sources, "data source"),
        )
    )
    asked = "; every database answers and fits" if connect else ""
    screen.print_line(f"{definitions.directory} is right: {counts}{asked}.")


def _print_promises(promised: Sequence[FeedPromise]) -> None:
    """The class of each feed, and why it is not exact."""
    from headrace.cli import screen

    for promise in promised:
        feed_class = promise.feed_class or "cannot be asked"
        why = f": {promise.reason}" if promise.reason else ""
        screen.print_line(
            f"feed {promise.source_id} of app {promise.app_id} is {feed_class}{why}", markup=False
        )


def plan(config: Config = None, json: Json = False) -> None:
    """Show what apply would change: definitions, tables in each data source, feeds that are read anew.

    Example: headrace plan
    """
    from headrace.cli import screen
    from headrace.cli.session import project

    with project(config) as (app, definitions):
        app.upgrade()
        before = _definition_changes(app, definitions)
        report = app.plan(definitions)
    changes = _taken_over(before, report)
    if json:
        screen.print_json(_report_as_json(definitions, changes, report))
    else:
        _print_report(changes, report, would=True)
    _end(definitions, report)


def apply(
    config: Config = None,
    json: Json = False,
    move: Annotated[
        bool,
        typer.Option(
            "--move", help="Move customers whose files name another data source, with their records."
        ),
    ] = False,
    switch_only: Annotated[
        bool,
        typer.Option("--switch-only", help="Lead them there, and leave their records behind."),
    ] = False,
) -> None:
    """Make the definitions the ones that workers run by, and give every data source its tables.

    May be run again at any time; a source that does not fit its database is left out and told. A customer
    that has records is led to another data source only by --move or --switch-only.

    Example: headrace apply
    """
    from headrace.cli import screen
    from headrace.cli.session import project
    from headrace.errors import ConfigurationError
    from headrace.ports import Residents

    if move and switch_only:
        raise ConfigurationError("--move and --switch-only exclude each other: give one of them")
    residents = Residents.MOVE if move else Residents.SWITCH if switch_only else Residents.REFUSE
    with project(config) as (app, definitions):
        app.upgrade()
        before = _definition_changes(app, definitions)
        report = app.apply(definitions, residents=residents)
    changes = _taken_over(before, report)
    if json:
        screen.print_json(_report_as_json(definitions, changes, report))
    else:
        _print_report(changes, report, would=False)
        without = ", ".join("/".join(named) for named in sorted(report.left_out))
        screen.print_line(f"Applied as version {report.version}{without and f', without {without}'}.")
    _end(definitions, report)


def _definition_changes(app: Application, definitions: Definitions) -> list[Difference]:
    from headrace.definition.difference import differences

    current = app.definitions_table.current()
    old: dict[str, dict[str, Any]] | None = None
    if current is not None:
        old = {}
        for (kind, id_), body in current.bodies.items():
            old.setdefault(kind, {})[id_] = body
    return differences(old, definitions.bodies)


def _taken_over(changes: list[Difference], report: ApplyReport) -> list[Difference]:
    """Without what is left out: nothing of that is applied."""
    return [change for change in changes if (change.kind, change.id) not in report.left_out]


def _print_report(changes: list[Difference], report: ApplyReport, *, would: bool) -> None:
    from headrace.cli import screen

    signs = {"added": "[green]+[/]", "changed": "[yellow]~[/]", "removed": "[red]-[/]"}
    for change in changes:
        paths = f"  ({', '.join(change.paths)})" if change.paths else ""
        screen.print_line(f"{signs[change.change]} {change.kind}/{change.id}{paths}")
    for store in report.stores:
        for change_ in store.changes:
            sign = signs[_kind_of(change_.change)]
            screen.print_line(f"{sign} data source {store.data_source_id}: {change_.table}: {change_.change}")
    verb = "would be read" if would else "is read"
    for (source_id, app_id), why in report.reread.items():
        screen.print_line(f"[yellow]~[/] feed {source_id} of {app_id} {verb} anew: {why}")
    for data_source_id in report.refilled:
        what = f"is another database now: all that belongs there {verb} into it again"
        screen.print_line(f"[yellow]~[/] data source {data_source_id} {what}")
    changed = report.reread or report.refilled or any(s.changes for s in report.stores)
    if not changes and not changed and not report.left_out:
        screen.print_line("Nothing to change.")


def _kind_of(change: str) -> str:
    """Of a table's change: it begins with what is done."""
    return {"create": "added", "add": "added", "drop": "removed"}.get(change.partition(" ")[0], "changed")


def _report_as_json(
    definitions: Definitions, changes: list[Difference], report: ApplyReport
) -> dict[str, Any]:
    return {
        "version": report.version,
        "definitions": [{"kind": c.kind, "id": c.id, "change": c.change, "paths": c.paths} for c in changes],
        "tables": [
            {"data_source": s.data_source_id, "table": c.table, "change": c.change}
            for s in report.stores
            for c in s.changes
        ],
        "reread": [
            {"source": source, "app": app, "why": why} for (source, app), why in report.reread.items()
        ],
        "refilled": report.refilled,
        "faults": [
            {"file": f.file, "path": f.path, "message": f.message, "code": f.code}
            for f in faults_of(definitions, report)
        ],
    }


def _end(definitions: Definitions, report: ApplyReport) -> None:
    tell_faults(definitions, report)
    if report.failed:
        raise typer.Exit(1)
