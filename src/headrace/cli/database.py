"""`headrace db`: the control database, made, moved forward and checked."""

from __future__ import annotations

import typer

from headrace.cli.options import Config

database = typer.Typer(help="The control database.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(database, name="db", rich_help_panel="Operate")


@database.command()
def upgrade(config: Config = None) -> None:
    """Make the control database, or bring an older one to this version, in one transaction.

    Safe to run at every release, and by several at once. The database is HEADRACE_CONTROL_URL.

    Example: headrace db upgrade
    """
    from headrace.cli import screen
    from headrace.cli.session import settings_for
    from headrace.control.engine import control_engine
    from headrace.control.schema import upgrade as upgrade_schema

    engine = control_engine(settings_for(config).control_url)
    try:
        upgrade_schema(engine)
    finally:
        engine.dispose()
    screen.print_line("The control database is up to date.")


@database.command()
def check(config: Config = None) -> None:
    """Say what keeps this version from working with the control database; exit 1 if anything does.

    Example: headrace db check
    """
    from headrace.cli import screen
    from headrace.cli.session import settings_for
    from headrace.control.engine import control_engine
    from headrace.control.schema import check as problems_of

    engine = control_engine(settings_for(config).control_url)
    try:
        problems = problems_of(engine)
    finally:
        engine.dispose()
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)
    screen.print_line("The control database is up to date.")
