"""`headrace backup` and `restore`: the control database in a file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.options import Config, Json

if TYPE_CHECKING:
    from headrace.control.backup_file import Manifest

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup: headrace-2026-01-31.tar.zst.")]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Operate")(backup)
    app.command(rich_help_panel="Operate")(restore)


def backup(file: File, config: Config = None, json: Json = False) -> None:
    """Put the control database, as it is at one moment, into a file. Nothing waits for it.

    It holds definitions, positions, journal, customers and routing. Secrets stay sealed as they are: keep
    HEADRACE_SECRET_KEYS apart from it.

    Example: headrace backup headrace.tar.zst
    """
    from headrace.cli import screen
    from headrace.cli.session import settings_for
    from headrace.cli.version import version
    from headrace.control.backup import back_up
    from headrace.control.engine import control_engine

    engine = control_engine(settings_for(config).control_url)
    try:
        manifest = back_up(engine, file, made_by=version())
    finally:
        engine.dispose()
    if json:
        screen.print_json(_as_json(file, manifest))
        return
    size = screen.counted(file.stat().st_size, "byte")
    rows, tables = screen.counted(manifest.rows, "row"), screen.counted(len(manifest.tables), "table")
    screen.print_line(f"{file}: {rows} of {tables}, {size}.", markup=False)


def restore(
    file: File,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace the control database that there is; forget what it has."),
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Put the control database back as it was at a backup. Stop all processes first.

    What data sources have that it no longer knows is recognised, and compared in full with the sources.

    Example: headrace restore headrace.tar.zst --replace
    """
    from headrace.cli import screen
    from headrace.cli.group import me
    from headrace.cli.session import settings_for
    from headrace.control import restore as restoring
    from headrace.control.engine import control_engine

    engine = control_engine(settings_for(config).control_url)
    put_back = restoring.replace if replace else restoring.restore
    try:
        manifest = put_back(engine, file, actor=me())
    finally:
        engine.dispose()
    if json:
        screen.print_json(_as_json(file, manifest))
        return
    moment = manifest.made_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    screen.print_line(
        f"The control database is as it was at {moment}: {screen.counted(manifest.rows, 'row')}.\n"
        "Next: headrace apply, for what definitions have become since; then start the processes.",
        markup=False,
    )


def _as_json(file: Path, manifest: Manifest) -> dict[str, Any]:
    return {
        "file": str(file),
        "bytes": file.stat().st_size,
        "made_at": manifest.made_at,
        "made_by": manifest.made_by,
        "workspace": manifest.workspace,
        "revision": manifest.revision,
        "tables": {table.name: table.rows for table in manifest.tables},
    }
