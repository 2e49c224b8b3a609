"""`headrace demo`: two small databases, one sync, and records that follow live changes."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

MARK: Final = ".headrace/demo"
"""Tells a demo's directory, which may be made anew, from anybody else's."""


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Start here")(demo)


def demo(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to make it.")] = Path(
        "demo-headrace"
    ),
    fast: Annotated[bool, typer.Option("--fast", help="Do not wait for the reader.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier demo without asking.")] = False,
) -> None:
    """See it work: two databases become one record per user, and records follow live changes.

    Takes less than a minute, needs no server, and leaves a directory to play with.

    Example: headrace demo --fast
    """
    from headrace.cli import screen
    from headrace.cli.demo_stage import Stage
    from headrace.cli.demo_story import tell
    from headrace.cli.skeleton import copy_example

    place = free_place(directory, force=force)
    copy_example(place)
    (place / MARK).parent.mkdir()
    (place / MARK).touch()
    pause_s = 0.0 if fast or not sys.stdout.isatty() else 0.5
    stage = Stage(screen.console(), pause_s=pause_s)
    came_from = Path.cwd()
    os.chdir(place)  # the example's paths are relative to the project's directory
    try:
        tell(stage, shown_directory=place)
    finally:
        os.chdir(came_from)


def free_place(directory: Path, *, force: bool) -> Path:
    """A directory that is not there; an earlier demo is removed if `force` or the person says so."""
    from headrace.errors import ConfigurationError

    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return directory
    if not (directory / MARK).exists():
        raise ConfigurationError(f"{directory} is no earlier demo and not empty; name another directory")
    if force or (
        sys.stdin.isatty() and typer.confirm(f"Replace the earlier demo in {directory}?", default=True)
    ):
        shutil.rmtree(directory)
        return directory
    beside = (directory.with_name(f"{directory.name}-{n}") for n in range(2, 1_000_000))
    return next(place for place in beside if not place.exists())
