"""The commands, by the group that `headrace --help` shows them in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Annotated, Final

import typer

from headrace.cli.version import version

COMMANDS: Final[Mapping[str, Collection[str]]] = {
    "demo": ("demo",),
    "project": ("init", "validate", "plan", "apply"),
    "explore": ("discover", "preview"),
    "run": ("sync", "up", "reconcile", "backfill", "pause", "resume"),
    "trigger": ("trigger", "triggers"),
    "inspect": ("records", "explain"),
    "look": ("status", "runs"),
    "top": ("top",),
    "rejected": ("rejected",),
    "events": ("events",),
    "route": ("route",),
    "audit": ("audit",),
    "verify": ("verify",),
    "doctor": ("doctor",),
    "explain_error": ("explain-error",),
    "database": ("db",),
    "backup": ("backup", "restore"),
    "customers": ("customers",),
    "data_sources": ("data-sources",),
    "tokens": ("tokens",),
    "web": ("web",),
}
"""What each module registers, in the order of `--help`."""


def app(first: str | None = None) -> typer.Typer:
    """The command line; of its commands, where the first argument is one, only those of its module: to
    import and inspect all the others takes a tenth of a second."""
    made = typer.Typer(
        name="headrace",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    made.callback()(headrace)
    asked = [module for module, commands in COMMANDS.items() if first in commands]
    for module in asked or COMMANDS:
        import_module(f"headrace.cli.{module}").register(made)
    return made


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headrace {version()}")
        raise typer.Exit


def headrace(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """One merged, fresh record per user, account or thing, out of many databases.

    New here? [bold]headrace demo[/] shows it in a minute; [bold]headrace init[/] starts a project.
    """
