"""How the demo looks: headings, a drawing, tables, and what changed in a record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cli.screen import text_of

WIDTH: Final = 96
SHOWN_CHANGES: Final = 3
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

    def heading(self, number: int, text: str) -> None:
        self.console.print()
        self.console.rule(f"[bold cyan]{number}[/]  [bold]{text}[/]", align="left", style="dim")
        self.console.print()

    def command(self, text: str) -> None:
        """A command that the reader could type."""
        self.console.print(f"  [dim]$[/] [bold]{text}[/]\n")

    def step(self, number: int, of: int, title: str) -> None:
        self.console.print(f"\n [bold black on cyan] {number}/{of} [/] [bold]{title}[/]\n")

    def said(self, who: str, what: str, *, aside: str = "") -> None:
        """Somebody does something: an application, a till, Headrace."""
        line = Table.grid(padding=(0, 2))
        line.add_column(width=9, justify="right")
        line.add_column(overflow="fold")
        style = "bold cyan" if who == "headrace" else "yellow"
        text = Text(what)
        if aside:
            text.append(f"  {aside}", style="dim")
        line.add_row(Text(who, style=style), text)
        self.console.print(line)

    def grid(self, names: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[int] = ()) -> None:
        """An indented table; a cell may be a Text of its own style."""
        table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim", pad_edge=False)
        table.add_column("", width=1)
        for at, name in enumerate(names):
            table.add_column(name, justify="right" if at in right else "left", overflow="fold")
        for row in rows:
            table.add_row("", *(cell if isinstance(cell, Text) else Text(text_of(cell)) for cell in row))
        self.console.print(table)

    def changes(self, title: str, changed: Mapping[str, tuple[Any, Any]]) -> None:
        """One record: each property that changed, before and after."""
        table = Table.grid(padding=(0, 2))
        table.add_column(width=9)
        table.add_column(min_width=26, style="bold")
        table.add_column()
        table.add_column(overflow="fold")
        for at, (name, (before, after)) in enumerate(changed.items()):
            value = Text(text_of(before), style="red strike")
            value.append(" → ", style="not strike dim")
            value.append(text_of(after), style="bold green not strike")
            table.add_row("", title if at == 0 else "", Text(name), value)
        self.console.print(table)

    def gone(self, title: str) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(width=9)
        table.add_column(min_width=26)
        table.add_row("", Text(title, style="red strike"), Text("removed", style="bold green"))
        self.console.print(table)

    def note(self, text: str) -> None:
        """Aligned with what people said, in a lower voice."""
        line = Table.grid(padding=(0, 2))
        line.add_column(width=9)
        line.add_column(overflow="fold")
        line.add_row("", Text.from_markup(text, style="dim"))
        self.console.print(line)

    def followed(self, seconds: float) -> None:
        self.note(f"[green]✓[/] followed in {seconds:.2f} s; no other record changed")


def in_colour(database: str, text: str | None = None) -> Text:
    """A database's name, or a text about it, in its colour."""
    return Text(text or database, style=_COLOURS.get(database, ""))
