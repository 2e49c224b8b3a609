"""The commands, by the group that `headrace --help` shows them in."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli import (
    audit,
    backup,
    customers,
    data_sources,
    database,
    demo,
    doctor,
    events,
    explain_error,
    explore,
    inspect,
    look,
    project,
    rejected,
    route,
    run,
    tokens,
    trigger,
    verify,
    web,
)
from headrace.cli.version import version

app = typer.Typer(
    name="headrace",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headrace {version()}")
        raise typer.Exit


@app.callback()
def headrace(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """One merged, fresh record per user, account or thing, out of many databases.

    New here? [bold]headrace demo[/] shows it in a minute; [bold]headrace init[/] starts a project.
    """


for group in (
    *(demo, project, explore, run, trigger, inspect, look, rejected, events, route, audit, verify),
    *(doctor, explain_error, database, backup, customers, data_sources, tokens, web),
):
    group.register(app)
