"""`headrace events`: what waits for whom, and giving it again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.options import Config, Json

if TYPE_CHECKING:
    from headrace.domain.cloud_event import Origin
    from headrace.ports.relaying import Backlog
    from headrace.wiring import Application

commands = typer.Typer(help="Record events on their way out.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="events", rich_help_panel="Look")


@commands.command()
def status(config: Config = None, json: Json = False) -> None:
    """Show what waits for the exchange and for each webhook, and what is in the way.

    Example: headrace events status
    """
    from headrace.cli import screen
    from headrace.cli.session import applied

    with applied(config) as app:
        found = [(origin, each) for origin, backlogs in app.backlogs() for each in backlogs]
    if json:
        screen.print_json([_as_json(*each) for each in found])
        return
    if not found:
        screen.print_line('No data source makes events: say "events": true in its definition, then apply.')
        return
    names = ("data source", "sink", "model")
    numbers = (screen.Column("pending", right=True), screen.Column("set aside", right=True))
    ends = (screen.Column("oldest"), screen.Column("in the way"))
    rows = [
        (o.data_source, b.sink, b.model, b.pending, b.set_aside, _moment(b.oldest_at) or "", b.error or "")
        for o, b in found
    ]
    screen.print_table([*map(screen.Column, names), *numbers, *ends], rows)


@commands.command()
def replay(
    sink: Annotated[str, typer.Argument(help="A webhook's id, or headrace.records for the exchange.")],
    since: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="What happened within this time (2h, 1d), instead of what was set aside."
        ),
    ] = None,
    data_source: Annotated[
        str | None, typer.Option("--data-source", metavar="ID", help="Of this data source alone.")
    ] = None,
    config: Config = None,
) -> None:
    """Give a sink events again: those that it did not take and that were set aside, or all since a while ago.

    The running relay does it. Events keep their ids, by which a consumer knows those that it had.

    Example: headrace events replay crm
    """
    from headrace.cli import screen
    from headrace.cli.session import applied

    seconds = None if since is None else _seconds(since)
    with applied(config) as app:
        count = 0
        for origin in _origins(app, sink, data_source):
            outbox = app.outbox(origin)
            if outbox is not None:
                again = outbox.replay(sink) if seconds is None else outbox.rewind(sink, since_s=seconds)
                count += again
    if seconds is None:
        screen.print_line(
            f"{screen.counted(count, 'event')} that were set aside will be given to {sink} again."
        )
    else:
        screen.print_line(
            f"{screen.counted(count, 'event')} will be given to {sink}, again or for the first time."
        )


def _origins(app: Application, sink: str, data_source: str | None) -> Sequence[Origin]:
    """Raises ConfigurationError for what is not there."""
    from headrace.cli.session import named
    from headrace.domain.record_event import EXCHANGE

    named(
        {EXCHANGE: None, **dict.fromkeys(app.webhooks())}, sink, word="sink", directory="applied definitions"
    )
    origins = {str(origin.data_source): origin for origin in app.outboxes()}
    if data_source is None:
        return tuple(origins.values())
    named(origins, data_source, word="data source with events", directory="applied definitions")
    return (origins[data_source],)


def _seconds(text: str) -> float:
    from headrace.domain.schedule import Duration
    from headrace.errors import ConfigurationError

    try:
        return Duration.parse(text).seconds
    except ValueError as error:
        raise ConfigurationError(f"--since: {error}") from error


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _as_json(origin: Origin, backlog: Backlog) -> dict[str, Any]:
    return {
        "data_source": origin.data_source,
        "sink": backlog.sink,
        "model": backlog.model,
        "pending": backlog.pending,
        "oldest_at": _moment(backlog.oldest_at),
        "set_aside": backlog.set_aside,
        "failures": backlog.failures,
        "error": backlog.error,
    }
