"""What commands print: tables on a terminal, aligned plain lines elsewhere, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NOTHING: Final = "–"
"""Stands for a null where a person reads."""
_GAP: Final = "  "


def console() -> Console:
    """Standard output; it never gets an escape sequence unless it is a terminal."""
    from rich.console import Console  # within: what is plain does without

    terminal = sys.stdout.isatty()
    return Console(
        force_terminal=terminal or False,
        color_system="auto" if terminal else None,
        highlight=False,
        soft_wrap=not terminal,
        emoji=False,
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a printed table; numbers go to the right. A spare one is left out where a terminal is too
    narrow for all. `styles`: how values are drawn on a terminal."""

    name: str
    right: bool = False
    spare: bool = False
    styles: Mapping[str, str] = field(default_factory=dict)

    def style_of(self, cell: str) -> str:
        return "dim" if cell == NOTHING else self.styles.get(cell, "")


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> None:
    """One line a row, under a header."""
    cells = [[text_of(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        screen = console()
        kept = fitting(columns, cells, screen.width)
        screen.print(rich_table([columns[i] for i in kept], [[line[i] for i in kept] for line in cells]))
    else:
        for line in plain_lines(columns, cells):
            print(line)  # noqa: T201


def print_blocks_if_wide(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> None:
    """A table where it fits the terminal, or where there is none; else a block a row, a line a value."""
    cells = [[text_of(value) for value in row] for row in rows]
    if not sys.stdout.isatty() or width_of(columns, cells) <= (screen := console()).width:
        print_table(columns, rows)
        return
    from rich.text import Text

    name_width = max(len(column.name) for column in columns)
    for row in cells:
        screen.rule(style="dim")
        for column, cell in zip(columns, row, strict=True):
            name = Text(f" {column.name.ljust(name_width)}{_GAP}", style="cyan")
            screen.print(name.append(cell, style="not cyan dim" if cell == NOTHING else "not cyan"))


def fitting(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int) -> list[int]:
    """The places of the columns that are shown in this width: spare ones go, the last one first."""
    kept = list(range(len(columns)))
    spare = [i for i in kept if columns[i].spare]
    while spare and width_of([columns[i] for i in kept], [[line[i] for i in kept] for line in cells]) > width:
        kept.remove(spare.pop())
    return kept


def width_of(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> int:
    """How wide the table is that `rich_table` makes: two spaces between columns."""
    lines = [[column.name for column in columns], *cells]
    return sum(max(len(line[i]) for line in lines) + 2 for i in range(len(columns))) - 2


def rich_table(columns: Sequence[Column], cells: Iterable[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, header_style="bold cyan", pad_edge=False, show_edge=False, collapse_padding=True
    )
    for column in columns:
        table.add_column(
            column.name,
            justify="right" if column.right else "left",
            overflow="fold",
        )
    for row in cells:
        table.add_row(*(Text(cell, style=c.style_of(cell)) for c, cell in zip(columns, row, strict=True)))
    return table


def plain_lines(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[str]:
    """Columns aligned by spaces, nothing cut off, for a file or a pipe."""
    lines = [[column.name for column in columns], *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return [
        _GAP.join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in lines
    ]


def print_line(text: str = "", *, markup: bool = True) -> None:
    """A line with rich markup; plain where standard output is no terminal."""
    if "[" in text or sys.stdout.isatty():
        console().print(text, markup=markup)
    else:
        print(text)  # noqa: T201


def print_json(value: Any) -> None:
    """JSON, its keys in the order of the documentation."""
    # Elsewhere a letter that the stream does not have would be replaced, and the value be another one.
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(value, indent=2, ensure_ascii=ascii_only, default=_json_of))  # noqa: T201


def _json_of(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)


def text_of(value: Any) -> str:
    """A value as a person reads it, on one line."""
    match value:
        case None:
            return NOTHING
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S") + (
                f".{value:%f}".rstrip("0") if value.microsecond else ""
            )
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value).replace("\n", "⏎")


def instant_text(value: datetime) -> str:
    """ISO 8601 in UTC with `Z`, microseconds where there are any."""
    return value.isoformat().replace("+00:00", "Z")


def ago(value: datetime | None, now: datetime) -> str:
    """How long ago, in the largest unit that is not zero."""
    if value is None:
        return NOTHING
    seconds = (now - value).total_seconds()
    if seconds < 0:
        return "in " + length(-seconds)
    return length(seconds) + " ago"


def length(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:.0f}s"


def counted(number: int, word: str) -> str:
    """`1 row`, `2 rows`, `1,000 rows`."""
    plural = (
        word
        if number == 1
        else f"{word[:-1]}ies"
        if word.endswith("y")
        else f"{word}es"
        if word.endswith("ch")
        else f"{word}s"
    )
    return f"{number:,} {plural}"
