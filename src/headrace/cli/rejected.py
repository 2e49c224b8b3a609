"""`headrace rejected`: rows that were set aside, to be looked at, fetched again or let go."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from headrace.cli.options import Config, Json

if TYPE_CHECKING:
    from headrace.control.runs import Rejected
    from headrace.wiring import Application
    from workers.sync import SyncReport

SHOWN: Final = 100
STATES: Final = ("open", "resolved", "discarded")
_ANY_NUMBER: Final = 2**31 - 1

commands = typer.Typer(help="Rows that were set aside, with the reason.", no_args_is_help=True)

_Ids = Annotated[
    list[int] | None, typer.Argument(metavar="ID", help="Rows by their id, as `rejected list` has it.")
]
_Source = Annotated[str | None, typer.Option("--source", metavar="ID", help="Of this source alone.")]


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="rejected", rich_help_panel="Look")


@commands.command("list")
def list_rows(
    source: _Source = None,
    code: Annotated[
        str | None, typer.Option(metavar="CODE", help="Set aside for this reason: refused, key_null, …")
    ] = None,
    state: Annotated[str, typer.Option(help="open, resolved or discarded.")] = "open",
    limit: Annotated[int, typer.Option(min=1, help="Rows to show, at most.")] = SHOWN,
    config: Config = None,
    json: Json = False,
) -> None:
    """List rows that were set aside: their key, the reason, and what the source had.

    Example: headrace rejected list --source purchases --code refused
    """
    from headrace.cli import screen
    from headrace.cli.session import applied, named
    from headrace.domain.events import RejectCode

    with applied(config) as app:
        _check_source(app, source)
        named(dict.fromkeys(STATES), state, word="state", directory="rejected rows")
        if code is not None:
            named(dict.fromkeys(c.value for c in RejectCode), code, word="code", directory="rejected rows")
        found = app.runs.rejected(limit=limit, source_id=source, code=code, state=state)
    if json:
        screen.print_json([_as_json(row) for row in found])
        return
    if not found:
        screen.print_line("No row is set aside." if state == "open" else f"No row is {state}.")
        return
    names = ("source", "key", "code", "reason", "the source had")
    columns = [screen.Column("id", right=True), *(screen.Column(name) for name in names)]
    rows = [(r.id, r.source_id, _key_text(r), r.code, r.reason, _raw_text(r)) for r in found]
    screen.print_table(columns, rows)


@commands.command()
def replay(
    ids: _Ids = None,
    all_: Annotated[bool, typer.Option("--all", help="Every open row.")] = False,
    source: _Source = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Fetch rows that were set aside from their source as they are now, and merge them.

    Exits with 1 while some of them are still rejected.

    Example: headrace rejected replay --source purchases
    """
    from headrace.cli import screen
    from headrace.cli.session import applied
    from headrace.cli.sync_report import print_report

    with applied(config) as app:
        if source is None:
            _check_choice(ids, all_=all_)
        asked = {row.id: row for row in _open_rows(app, ids or (), source)}
        report = _replayed(app, ids or (), source)
        known = app.runs.rejected(limit=_ANY_NUMBER, source_id=source, state=None, ids=ids or ())
        now = [row for row in known if row.id in asked]
        still = [row for row in now if row.state == "open"]
        if json:
            screen.print_json([_as_json(row) for row in now])
        elif not asked:
            screen.print_line("No row is set aside: there is nothing to fetch again.")
        else:
            print_report(app, report, as_json=False)
            _print_outcome(len(asked), still)
    if report.failed or still:
        raise typer.Exit(1)


@commands.command()
def discard(
    ids: _Ids = None,
    all_: Annotated[bool, typer.Option("--all", help="Every open row of the source.")] = False,
    source: _Source = None,
    config: Config = None,
) -> None:
    """Close rejected rows for good. A version of them that the source has later is a new row.

    Asks nothing of the source, and is audited.

    Example: headrace rejected discard --all --source purchases
    """
    import getpass

    from headrace.cli import screen
    from headrace.cli.session import applied
    from headrace.errors import ConfigurationError

    with applied(config) as app:
        _check_choice(ids, all_=all_)
        if all_ and source is None:
            raise ConfigurationError("--all needs --source ID: which source's rows are discarded")
        _open_rows(app, ids or (), source)
        closed = app.runs.discard(actor=getpass.getuser(), source_id=source, ids=ids or ())
    screen.print_line(f"{screen.counted(closed, 'row')} discarded.")


def _check_source(app: Application, source: str | None) -> None:
    from headrace.cli.session import named

    if source is not None:
        known = {source_id: source_id for source_id, _ in app.catalogue().plans}
        named(known, source, word="source", directory="the applied definitions")


def _check_choice(ids: Sequence[int] | None, *, all_: bool) -> None:
    from headrace.errors import ConfigurationError

    if bool(ids) == all_:
        raise ConfigurationError("which rows? either ids, as `headrace rejected list` has them, or --all")


def _open_rows(app: Application, ids: Sequence[int], source: str | None) -> list[Rejected]:
    """The open rows that are meant; a fault when one of the ids is none."""
    from headrace.errors import ConfigurationError

    _check_source(app, source)
    found = app.runs.rejected(limit=_ANY_NUMBER, source_id=source, ids=ids)
    unknown = sorted(set(ids) - {row.id for row in found})
    if unknown:
        named = ", ".join(map(str, unknown))
        raise ConfigurationError(f"no open rejected row has the id {named}: see `headrace rejected list`")
    return found


def _replayed(app: Application, ids: Sequence[int], source: str | None) -> SyncReport:
    """The rows were fetched and merged, by this process or by workers that were quicker."""
    from headrace.cli.sync_report import run_watched

    feeds = set(app.runs.replay(ids=ids, source_id=source))
    sources = sorted({feed.source_id for feed in app.status.feed_status() if feed.feed_id in feeds})
    if not sources:
        return _nothing()
    report = run_watched(app, sources, trigger="replay")
    if any(feed.pending_batches for feed in app.status.feed_status() if feed.feed_id in feeds):
        report = run_watched(app, sources, trigger="replay")  # begins with what waits
    return report


def _nothing() -> SyncReport:
    from workers.sync import SyncReport

    return SyncReport(feeds=(), merges={}, models=frozenset())


def _print_outcome(asked: int, still: Sequence[Rejected]) -> None:
    from headrace.cli import screen

    screen.print_line(f"Of {screen.counted(asked, 'rejected row')}, {len(still):,} still rejected.")
    for row in still:
        why = "its key has no value to fetch it by" if None in row.key else row.reason
        screen.print_line(f"{row.source_id} {_key_text(row)}: {why}", markup=False)


def _key_text(row: Rejected) -> str:
    return ", ".join("null" if part is None else part for part in row.key)


def _raw_text(row: Rejected) -> str:
    """A row as JSON, a line as it is."""
    raw = json_module.loads(row.raw)
    return raw if isinstance(raw, str) else row.raw


def _as_json(row: Rejected) -> dict[str, Any]:
    return {
        "id": row.id,
        "source": row.source_id,
        "app": row.app_id,
        "data_source": row.data_source_id,
        "key": row.key,
        "code": row.code,
        "reason": row.reason,
        "raw": json_module.loads(row.raw),
        "state": row.state,
        "attempts": row.attempts,
        "first_seen": row.first_seen,
        "last_seen": row.last_seen,
    }
