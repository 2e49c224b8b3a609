"""Makes docs/images/demo-*.svg from a real run of the demo, and top.svg of its project while it runs:
`python docs/make_images.py`."""

from __future__ import annotations

import io
import os
import re
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from headrace.cli.demo_stage import Stage
from headrace.cli.demo_story import tell
from headrace.cli.session import applied
from headrace.cli.skeleton import copy_example
from headrace.cli.top import Frame, drawing
from headrace.domain.vocabulary import SourceId

IMAGES = Path(__file__).resolve().parent / "images"
WIDTH = 90
CHARACTER = 12.2
"""How wide rich draws one, in the picture's units."""
THEME = TerminalTheme(
    (22, 27, 34),
    (222, 228, 235),
    [(40, 46, 54), (255, 123, 114), (86, 211, 100), (227, 179, 65), (88, 166, 255), (210, 168, 255),
     (57, 197, 207), (177, 186, 196)],
    [(110, 118, 129), (255, 161, 152), (126, 231, 135), (242, 204, 96), (121, 192, 255), (226, 197, 255),
     (86, 212, 221), (255, 255, 255)],
)  # fmt: skip


class Photographed(Stage):
    """A stage that is photographed where the live changes begin and end."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, pause_s=0.25)
        self._parts = iter(("demo-records", "demo-live"))

    def heading(self, text: str) -> None:
        if text.startswith(("Now rows change", "It is yours")):
            name = next(self._parts)
            svg = self.console.export_svg(title="headrace demo", theme=THEME, unique_id=name)
            (IMAGES / f"{name}.svg").write_text(_placed(svg), encoding="utf-8")
        super().heading(text)


def photograph_top() -> None:
    """What `headrace top` draws of the demo's project, one of whose feeds somebody paused."""
    console = Console(
        record=True, width=WIDTH, height=24, force_terminal=True, file=io.StringIO(), highlight=False
    )
    with applied(None) as app:
        app.commands.pause(SourceId("refunds"), reason="the shop migrates until noon")
        console.print(drawing(Frame.taken(app), console.height, console.width))
    svg = console.export_svg(title="headrace top", theme=THEME, unique_id="top")
    (IMAGES / "top.svg").write_text(_placed(svg), encoding="utf-8")


def main() -> None:
    """One run, start to end, in a directory of its own."""
    IMAGES.mkdir(exist_ok=True)
    console = Console(record=True, width=WIDTH, force_terminal=True, file=io.StringIO(), highlight=False)
    came_from = Path.cwd()
    with tempfile.TemporaryDirectory() as directory:
        copy_example(Path(directory))
        os.chdir(directory)
        try:
            tell(Photographed(console), shown_directory=Path("demo-headrace"))
            photograph_top()
        finally:
            os.chdir(came_from)


def _placed(svg: str) -> str:
    """Texts without spaces around them, each at its own place: some viewers drop such spaces."""
    return re.sub(
        r'x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)"([^>]*)>((?:&#160;|[^<])*)</text>', _place, svg
    )


def _place(match: re.Match[str]) -> str:
    x, y, _, rest, text = match.groups()
    characters = text.replace("&#160;", " ")
    left = len(characters) - len(characters.lstrip(" "))
    stripped = re.sub(r"&#?\w+;", "x", characters.strip(" "))
    at, length = float(x) + CHARACTER * left, CHARACTER * len(stripped)
    kept = characters.strip(" ").replace(" ", "&#160;")
    return f'x="{at:.1f}" y="{y}" textLength="{length:.1f}"{rest}>{kept}</text>'


if __name__ == "__main__":
    main()
