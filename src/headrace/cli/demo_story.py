"""What the demo tells: every number and value in it is read from the databases as it runs."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from headrace import settings, wiring
from headrace.cli.demo_stage import SHOWN_CHANGES, Stage, in_colour
from headrace.cli.explanation import explain_record
from headrace.cli.record import find_records
from headrace.domain.vocabulary import ModelId
from headrace.wiring import Application
from workers.sync import SyncReport, run_sync

APP: Final = Path("sources/app.db")
SHOP: Final = Path("sources/shop.db")
_ALL: Final = 1_000_000
_BOOKKEEPING: Final = frozenset({"_created_at", "_updated_at", "_customer_id"})
_STEPS: Final = 5

_PICTURE: Final = """\
   [cyan]app.db[/]   users, accounts     ──┐                ┌──▶  [bold]main.db[/]     Acme and Globex
                                  ├──▶ [bold cyan]headrace[/] ──┤
   [magenta]shop.db[/]  purchases, refunds  ──┘                └──▶  [bold]initech.db[/]  Initech, by itself"""

Place = tuple[str, str, tuple[Any, ...]]
"""Model, customer and key of a record."""
Records = dict[Place, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Scene:
    """One live change: what happens at the source, and how Headrace comes to know of it."""

    title: str
    play: Callable[[Stage, Application], float]
    """Plays it and returns the seconds from the commit until the records had followed."""


def tell(stage: Stage, *, shown_directory: Path) -> None:
    """The whole story, in the current directory, which holds the example."""
    began = time.monotonic()
    loaded = settings.load(
        config_dir=Path("config"), control_url="sqlite:///.headrace/control.db", broker_url="memory://"
    )
    with wiring.build(loaded, process="demo") as app:
        _introduce(stage)
        _first_sync(stage, app)
        _explain(stage, app)
        _live_changes(stage, app)
    write_readme(Path("README.md"))
    _farewell(stage, shown_directory, time.monotonic() - began)


def _introduce(stage: Stage) -> None:
    stage.line()
    stage.line(" [bold cyan]≋ Headrace[/]  one merged, fresh record per user, out of many databases")
    stage.heading(1, "Two databases that know nothing of each other")
    stage.line(Text.from_markup(_PICTURE))
    stage.line()
    counts = [(path, table, _count(path, table)) for path, tables in _TABLES for table in tables]
    stage.line("   " + ", ".join(f"[bold]{rows:,}[/] {table}" for _, table, rows in counts) + ".")
    stage.line("   Three customers. Initech's contract says: a database of its own.")
    stage.wait(2)


_TABLES: Final = ((APP, ("users", "accounts")), (SHOP, ("purchases", "refunds")))


def _first_sync(stage: Stage, app: Application) -> None:
    stage.heading(2, "Merge them")
    stage.command("headrace sync")
    started = time.monotonic()
    app.apply(app.definitions())
    report = _synced(app)
    took_s = time.monotonic() - started
    databases = _databases(app)
    rows = [
        (in_colour(databases[f.source_id]), f.source_id, f"{f.rows_read:,}", "→", app.catalogue().plans[f.source_id, f.app_id].source.model)
        for f in report.feeds
    ]
    stage.grid(("from", "source", "rows", "", "records of"), rows, right=(2,))
    stage.line()
    merged = [(d, m, r.counts.inserted) for (d, m), r in sorted(report.merges.items(), reverse=True)]
    text = ", ".join(f"[bold]{n:,}[/] {m} in {d}.db" for d, m, n in merged if n)
    stage.line(f"   {text}  [dim]{took_s:.1f} s[/]")
    stage.wait(2)


def _explain(stage: Stage, app: Application) -> None:
    stage.heading(3, "One record, and where each value comes from")
    stage.command("headrace explain users 12")
    model = app.catalogue().model(ModelId("users"))
    record = find_records(app, model, key=["12"], customer="acme", limit=1)[0]
    explained = explain_record(app, model, record)
    databases = _databases(app)
    rows = [
        (p.name, Text(_shown(p.value), style="bold"), in_colour(databases[p.source]), Text(p.source), Text(p.made_of, style="dim"))
        for p in explained.properties
    ]
    stage.grid(("property", "value", "from", "source", "made of"), rows)
    stage.wait(4)


def _live_changes(stage: Stage, app: Application) -> None:
    stage.heading(4, "Now rows change, and the records follow")
    stage.note("Before and after are read from the data sources; all records are compared each time.")
    scenes = (
        Scene("A user changes her address", _update),
        Scene("A till commits late", _late_commit),
        Scene("An account is renamed: its users follow, in Initech's own database", _rename),
        Scene("A purchase turns out to be somebody else's", _move),
        Scene("A user is deleted, and leaves no updated_at behind", _delete),
    )
    assert len(scenes) == _STEPS  # noqa: S101
    for number, scene in enumerate(scenes, start=1):
        stage.step(number, _STEPS, scene.title)
        before = _snapshot(app)
        took_s = scene.play(stage, app)
        _show_changes(stage, before, _snapshot(app))
        stage.followed(took_s)
        stage.wait(2)


def _update(stage: Stage, app: Application) -> float:
    _run(stage, "app", APP, "UPDATE users SET email = 'ada@analytical.example' WHERE id = 12")
    return _follow(stage, app)


def _late_commit(stage: Stage, app: Application) -> float:
    insert = (
        "INSERT INTO purchases (id, tenant, buyer_id, item, amount) "
        "VALUES (4001, 'acme', 12, 'Samovar', '249.00')"
    )
    with _connected(SHOP) as shop:
        shop.execute("BEGIN IMMEDIATE")
        shop.execute(insert)
        stamped = shop.execute("SELECT updated_at FROM purchases WHERE id = 4001").fetchone()[0]
        stage.said("till", f"BEGIN; {insert}", aside=f"updated_at = {stamped[11:]}")
        stage.wait()
        polled = shop.execute("SELECT strftime('%H:%M:%f', 'now')").fetchone()[0]
        _synced(app)
        stage.said("headrace", f"polls at {polled}: nothing to see yet")
        stage.wait()
        shop.execute("COMMIT")
    stage.said("till", "COMMIT", aside="the row is older than the last poll: a watermark by the clock loses it")
    return _follow(stage, app)


def _rename(stage: Stage, app: Application) -> float:
    _run(stage, "app", APP, "UPDATE accounts SET name = 'Initech Aerospace' WHERE id = 5")
    return _follow(stage, app)


def _move(stage: Stage, app: Application) -> float:
    _run(stage, "shop", SHOP, "UPDATE purchases SET buyer_id = 42 WHERE id = 4001")
    return _follow(stage, app)


def _delete(stage: Stage, app: Application) -> float:
    _run(stage, "app", APP, "DELETE FROM users WHERE id = 72")
    _synced(app)
    stage.said("headrace", "polls: a row that is gone cannot show up")
    stage.wait()
    for source_id in ("users", "account_users"):
        app.commands.request_reconcile(source_id, full=False, confirm=False)
    return _follow(stage, app, what="compares the keys of the source with those of its records")


def _run(stage: Stage, who: str, path: Path, statement: str) -> None:
    with _connected(path) as database:
        database.execute(statement)
    stage.said(who, statement)
    stage.wait()


def _follow(stage: Stage, app: Application, what: str = "reads what changed, merges it") -> float:
    started = time.monotonic()
    _synced(app)
    took_s = time.monotonic() - started
    stage.said("headrace", what)
    return took_s


def _synced(app: Application) -> SyncReport:
    report = run_sync(app)
    if report.failed:
        errors = [f.error for f in report.feeds if f.error] + [e for m in report.merges.values() for e in m.errors]
        raise RuntimeError("; ".join(errors))
    return report


def _snapshot(app: Application) -> Records:
    """Every record of every model, in all data sources."""
    found: Records = {}
    for model in app.catalogue().models.values():
        for record in find_records(app, model, key=(), customer=None, limit=_ALL):
            key = tuple(record.values[column.name] for column in model.key)
            found[model.id, record.customer, key] = record.values
    return found


def _show_changes(stage: Stage, before: Records, after: Records) -> None:
    """Every record that differs: all that a reader can take in, and how many more."""
    shown: dict[tuple[tuple[str, Any, Any], ...], int] = {}
    for place, values in sorted(before.items(), key=lambda item: item[0][0] != "users"):
        if place not in after:
            stage.gone(_title(place, values))
            continue
        changed = {
            name: (old, after[place][name])
            for name, old in values.items()
            if name not in _BOOKKEEPING and old != after[place][name]
        }
        if not changed:
            continue
        alike = tuple((name, *pair) for name, pair in changed.items())
        shown[alike] = shown.get(alike, 0) + 1
        if shown[alike] <= SHOWN_CHANGES:
            stage.changes(_title(place, after[place]), changed)
    for more in (count - SHOWN_CHANGES for count in shown.values() if count > SHOWN_CHANGES):
        stage.note(f"… and {more} more users alike")


def _title(place: Place, values: dict[str, Any]) -> str:
    model, _customer, key = place
    word = {"users": "user", "accounts": "account"}[model]
    return f"{word} {key[0]}, {values['name']}"


def _shown(value: Any) -> str:
    from headrace.cli.screen import text_of

    return text_of(value)


def _databases(app: Application) -> dict[str, str]:
    """The file that each source reads."""
    names = {"app_db": APP.name, "shop_db": SHOP.name}
    return {source: names[app_id] for source, app_id in app.catalogue().plans}


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        yield database


def _count(path: Path, table: str) -> int:
    with _connected(path) as database:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _farewell(stage: Stage, directory: Path, took_s: float) -> None:
    stage.heading(5, "It is yours to play with")
    stage.line(f"   [dim]$[/] [bold]cd {directory}[/]")
    for command, why in _NEXT:
        stage.line(f"   [dim]$[/] [bold]{command:<36}[/] [dim]{why}[/]")
    stage.line(f"\n   [dim]Done in {took_s:.0f} s. README.md there says what to change, and how your own database comes in.[/]\n")


_NEXT: Final = (
    ("headrace status", "how every feed is doing"),
    ("headrace records users 12 42", "the merged records, here and there"),
    ("headrace up", "keep following: polls every 2 s until Ctrl-C"),
    ("headrace plan", "after you edit a file in config/sources"),
)


def write_readme(path: Path) -> None:
    """What to try next, for whoever opens the directory later."""
    path.write_text(_README, encoding="utf-8")


_README: Final = """\
# A Headrace project to play with

    config/             the definitions: apps, models, sources, customers, data sources
    sources/app.db      a product: users and accounts
    sources/shop.db     a shop: purchases and refunds
    stores/main.db      the merged records of Acme and Globex
    stores/initech.db   those of Initech, which has a database of its own
    .headrace/          the control database: what was read, up to where

Try, in this directory:

    headrace status
    headrace records users --customer initech
    headrace explain users 12

Change a row and let the record follow (any SQLite client will do):

    python3 -c "import sqlite3; d = sqlite3.connect('sources/app.db'); \\
      d.execute(\\"UPDATE users SET name = 'Ada King' WHERE id = 12\\"); d.commit()"
    headrace sync
    headrace records users 12

Or keep it following: `headrace up` polls every two seconds until you stop it.

Delete rows, then `headrace sync --reconcile`. Delete a whole table's worth, and see the breaker keep the
records until you `--confirm`.

Your own database: add `config/apps/my_db.json`,

    {"name": "My database", "type": "postgres", "url": "${MY_DB_URL}"}

then `headrace discover my_db` lists its tables with the key and cursor that a source could use, and
`headrace discover my_db TABLE` prints a source definition to start from.
"""
