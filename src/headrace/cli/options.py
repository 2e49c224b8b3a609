"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="DIR",
        help="The directory of definitions.",
        show_default="HEADRACE_CONFIG_DIR, else config",
        file_okay=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs (keys: docs/cli.md).")]
SourceId = Annotated[
    str, typer.Argument(metavar="SOURCE", help="The id of a source: config/sources/<id>.json.")
]
