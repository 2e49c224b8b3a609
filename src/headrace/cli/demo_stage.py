"""How the demo looks: headings, a drawing, tables, and what changed in a record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cli.screen import text_of

WIDTH: Final = 90
_COLOURS: Final = {"app.db": "cyan", "shop.db": "magenta"}


class Stage:
    """Prints the story, at the pace of a reader."""

    def __init__(self, console: Console, *, pause_s: float) -> None:
        self.console = console
        self._pause_s = pause_s
        if console.width > WIDTH:
            console.width = WIDTH

    def wait(self, share: float = 1.0) -> None:
        """Time to read."""
        time.sleep(self._pause_s * share)

    def line(self, text: str | Text = "") -> None:
        self.console.print(text)

    def heading(self, text: str) -> None:
        self.console.print()
        self.console.rule(f"[bold]{text}[/]", align="left", style="cyan")
        self.console.print()

    def command(self, text: str) -> None:
        """A command that the reader could type."""
        self.console.print(f"  [dim]$[/] [bold]{text}[/]\n")

    def step(self, number: int, of: int, title: str) -> None:
        if number > 1:
            self.console.print()
        self.console.print(f" [bold black on cyan] {number}/{of} [/] [bold]{title}[/]\n")

    def said(self, who: str, what: str, *, aside: str = "") -> None:
        """Somebody does something: an application, a till, Headrace."""
        line = Table.grid(padding=(0, 2))
        line.add_column(width=9, justify="right")
        line.add_column(overflow="fold")
        style = "bold cyan" if who == "headrace" else "bold yellow"
        text = Text(what)
        if aside:
            text.append(f"  {aside}", style="dim")
        line.add_row(Text(who, style=style), text)
        self.console.print(line)

    def grid(self, names: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[int] = ()) -> None:
        """An indented table; a cell may be a Text of its own style."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        table.add_column("", width=1)
        for at, name in enumerate(names):
            table.add_column(name, justify="right" if at in right else "left", overflow="fold")
        for row in rows:
            table.add_row("", *(cell if isinstance(cell, Text) else Text(_brief(cell)) for cell in row))
        self.console.print(table)

    def changes(self, title: Text, changed: Mapping[str, tuple[Any, Any]]) -> None:
        """A record, or several alike: each property that changed, before and after."""
        table = Table.grid(padding=(0, 2))
        table.add_column(width=9)
        table.add_column(min_width=16)
        table.add_column(overflow="fold")
        for name, (before, after) in changed.items():
            value = Text.assemble(
                (_brief(before), "red strike"), ("  →  ", "dim"), (_brief(after), "bold green")
            )
            table.add_row("", Text(f"  {name}"), value)
        self._aside(title)
        self.console.print(table)

    def gone(self, title: Text) -> None:
        """A record that is no more."""
        self._aside(Text.assemble(title, ("  removed", "bold green")))

    def note(self, text: str) -> None:
        """Aligned with what people said, in a lower voice."""
        self._aside(Text.from_markup(text, style="dim"))

    def _aside(self, text: Text) -> None:
        line = Table.grid(padding=(0, 2))
        line.add_column(width=9)
        line.add_column(overflow="fold")
        line.add_row("", text)
        self.console.print(line)

    def followed(self, seconds: float) -> None:
        self._aside(
            Text.from_markup(
                f"[bold green]✓[/] followed in {seconds:.2f} s, [dim]and no other record changed[/]"
            )
        )


def _brief(value: Any) -> str:
    return text_of(value.replace(microsecond=0) if isinstance(value, datetime) else value)


def in_colour(database: str, text: str | None = None) -> Text:
    """A database's name, or a text about it, in its colour."""
    return Text(text or database, style=_COLOURS.get(database, ""))
