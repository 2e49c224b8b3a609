"""`headrace explain-error`: what a code means, why it happens, and what to do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.options import Json

if TYPE_CHECKING:
    from headrace.cli.error_page import ErrorPage


def register(app: typer.Typer) -> None:
    app.command(name="explain-error", rich_help_panel="Operate")(explain_error)


def explain_error(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE", help="As it stands in brackets behind an error; without, all are listed."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Say what the code of an error means, why it happens, and what to do.

    Example: headrace explain-error source_login_refused
    """
    from dataclasses import asdict
    from difflib import get_close_matches

    from headrace.cli import error_page, screen
    from headrace.errors import ConfigurationError, ErrorCode

    known = error_page.codes()
    if code is None:
        pages = [error_page.page(id_) for id_ in known]
        if json:
            screen.print_json([asdict(page) for page in pages])
        else:
            columns = [screen.Column("code"), screen.Column("means")]
            screen.print_table(columns, [[page.code, _first_sentence(page.what)] for page in pages])
        return
    wanted = code.strip("[]").replace("-", "_").lower()
    if wanted not in known:
        meant = "".join(f'; did you mean "{near}"?' for near in get_close_matches(wanted, known, n=1))
        raise ConfigurationError(
            f'there is no code "{wanted}"{meant or "; headrace explain-error lists all"}',
            code=ErrorCode.NAME_UNKNOWN,
        )
    page = error_page.page(wanted)
    if json:
        screen.print_json(asdict(page))
    else:
        _print(page)


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).partition(". ")[0].rstrip(".:")


def _print(page: ErrorPage) -> None:
    from headrace.cli import screen

    parts = (("", page.what), ("Why", page.why), ("What to do", page.remedy))
    if sys.stdout.isatty():
        from rich.markdown import Markdown
        from rich.padding import Padding

        terminal = screen.console()
        terminal.print(f"[bold]{page.code}[/]\n")
        for title, text in parts:
            if title:
                terminal.print(f"\n[bold cyan]{title}[/]")
            terminal.print(Padding(Markdown(text), (0, 0, 0, 2)))
        return
    print(page.code)  # noqa: T201
    for title, text in parts:
        print(f"\n{title}:\n{text}" if title else f"\n{text}")  # noqa: T201
