"""What the demo tells: every number and value in it is read from the databases as it runs."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Final

from rich.text import Text

from headrace import settings, wiring
from headrace.cli.demo_records import Change, changes, snapshot, touched
from headrace.cli.demo_scenes import ADA, APP, SHOP, connected, scenes, synced
from headrace.cli.demo_stage import Stage, in_colour
from headrace.cli.explanation import explain_record
from headrace.cli.record import find_records
from headrace.domain.vocabulary import ModelId
from headrace.errors import InvariantError
from headrace.wiring import Application

_TABLES: Final = ((APP, ("users", "accounts")), (SHOP, ("purchases", "refunds")))
_SHOWN_NAMES: Final = 2
_PICTURE: Final = """\
   [cyan]app.db[/]   users, accounts    ─┐                ┌─▶ [bold]main.db[/]     Acme, Globex
                                ├─▶ [bold cyan]headrace[/] ────┤
   [magenta]shop.db[/]  purchases, refunds ─┘                └─▶ [bold]initech.db[/]  Initech alone"""
_NEXT: Final = (
    ("headrace status", "how every feed is doing"),
    ("headrace explain users 42", "where each value comes from"),
    ("headrace up", "keep following, until Ctrl-C"),
)


def tell(stage: Stage, *, shown_directory: Path) -> None:
    """The whole story, in the current directory, which holds the example.

    Raises:
        InvariantError: a record did not follow, or another one changed: what is shown is true, or fails.
    """
    began = time.monotonic()
    shutil.copyfile(Path(__file__).with_name("demo_readme.md"), "README.md")
    loaded = settings.load(
        config_dir=Path("config"), control_url="sqlite:///.headrace/control.db", broker_url="memory://"
    )
    with wiring.build(loaded, process="demo") as app:
        _introduce(stage)
        _first_sync(stage, app)
        _explain(stage, app)
        _live_changes(stage, app)
    _farewell(stage, shown_directory, time.monotonic() - began)


def _introduce(stage: Stage) -> None:
    stage.line("\n [bold cyan]≋ Headrace[/]  one merged, fresh record per user, out of many databases")
    stage.heading("Two databases that know nothing of each other")
    stage.line(Text.from_markup(_PICTURE))
    counts = [(_count(path, table), table) for path, tables in _TABLES for table in tables]
    stage.line("\n   " + ", ".join(f"[bold]{rows:,}[/] {table}" for rows, table in counts))
    stage.wait(2)


def _count(path: Path, table: str) -> int:
    with connected(path) as database:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _first_sync(stage: Stage, app: Application) -> None:
    stage.heading("Merge them")
    stage.command("headrace sync")
    started = time.monotonic()
    app.apply(app.definitions())
    report = synced(app)
    took_s = time.monotonic() - started
    databases, catalogue = _databases(app), app.catalogue()
    stage.grid(
        ("source", "of", "rows read", "", "for the records of"),
        [
            (f.source_id, in_colour(databases[f.source_id]), f"{f.rows_read:,}", "─▶",
             catalogue.feed(f.source_id, f.app_id).source.model)
            for f in report.feeds
        ],
        right=(2,),
    )  # fmt: skip
    placed: dict[str, list[str]] = {}
    for (place, model), merge in sorted(report.merges.items(), reverse=True):
        placed.setdefault(place, []).append(f"[bold]{merge.counts.inserted:,}[/] {model}")
    records = ", ".join(f"{' and '.join(counts)} in {place}.db" for place, counts in placed.items())
    stage.line(f"\n   [bold green]✓[/] {records} [dim]({took_s:.1f} s)[/]")
    stage.wait(2)


def _explain(stage: Stage, app: Application) -> None:
    stage.heading("One record, and where each value comes from")
    stage.command(f"headrace explain users {ADA}")
    model = app.catalogue().model(ModelId("users"))
    (record,) = find_records(app, model, key=[str(ADA)], customer=None, limit=2)
    databases = _databases(app)
    stage.grid(
        ("property", "value", "source", "made of its rows"),
        [
            (p.name, p.value, in_colour(databases[p.source], p.source), Text(p.made_of, style="dim"))
            for p in explain_record(app, model, record).properties
        ],
    )
    stage.wait(4)


def _live_changes(stage: Stage, app: Application) -> None:
    stage.heading("Now rows change, and the records follow")
    played = scenes()
    for number, scene in enumerate(played, start=1):
        stage.step(number, len(played), scene.title)
        before = snapshot(app)
        took_s = scene.play(stage, app)
        after = snapshot(app)
        if touched(before, after) != scene.touches():
            raise InvariantError(f"{scene.title}: changed {touched(before, after)}, not {scene.touches()}")
        for change in changes(before, after):
            _show(stage, change)
        stage.followed(took_s)
        stage.wait(2)


def _show(stage: Stage, change: Change) -> None:
    word, more = change.model.removesuffix("s"), len(change.names) - _SHOWN_NAMES
    if len(change.places) == 1:
        title = f"{word} {change.places[0].key}, {change.names[0]}"
    else:
        title = f"{len(change.names)} {change.model}: {', '.join(change.names[:_SHOWN_NAMES])}"
        title += f" and {more} more" if more > 0 else ""
    titled = Text(title, style="bold").append(f"  in {change.data_source}.db", style="not bold dim")
    if change.is_gone:
        stage.gone(titled)
    else:
        stage.changes(titled, change.values)


def _databases(app: Application) -> dict[str, str]:
    """The file that each source reads."""
    names = {"app_db": APP.name, "shop_db": SHOP.name}
    return {source: names[app_id] for source, app_id in app.catalogue().plans}


def _farewell(stage: Stage, directory: Path, took_s: float) -> None:
    stage.heading("It is yours to play with")
    stage.line(f"   [dim]$[/] [bold]cd {directory}[/]")
    if (activate := _activation()) is not None:
        stage.line(f"   [dim]$[/] [bold]{activate:<28}[/] [dim]so that the shell finds headrace[/]")
    for command, why in _NEXT:
        stage.line(f"   [dim]$[/] [bold]{command:<28}[/] [dim]{why}[/]")
    stage.line(f"\n   [dim]That took {took_s:.0f} s. {directory}/README.md says what else to try.[/]\n")


def _activation() -> str | None:
    """What makes the shell find `headrace`, from the current directory; None when it does already."""
    script = Path(sys.executable).with_name("activate")
    if shutil.which("headrace") is not None or not script.exists():
        return None
    return f". {os.path.relpath(script)}"
