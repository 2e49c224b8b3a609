"""`headrace trigger` and `triggers`: have a source read now, and see who asked for that."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from headrace.cli.options import Config, Json, SourceId

if TYPE_CHECKING:
    from headrace.control.triggers import Told
    from headrace.domain.trigger import TriggerRequest
    from headrace.domain.vocabulary import FeedId
    from headrace.wiring import Application

SHOWN: Final = 50


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Operate")(trigger)
    app.command(rich_help_panel="Look")(triggers)


def trigger(
    source: SourceId,
    app_id: Annotated[str | None, typer.Option("--app", metavar="ID", help="Through this app alone.")] = None,
    customer: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only through apps that may have its rows (a provided id)."),
    ] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--key",
            metavar="KEY",
            help="Exactly this row; may be repeated. Several parts, or one that begins with [: a JSON array.",
        ),
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Ask for a source to be read now by the running workers, whatever its schedule says.

    Example: headrace trigger purchases --key 17 --key 18
    """
    from headrace import traces
    from headrace.cli import screen
    from headrace.cli.group import me
    from headrace.cli.session import applied, applied_source
    from headrace.steps.trigger import Asker

    request = _request(source, app_id, customer, keys)
    with applied(config) as app:
        applied_source(app, source)
        with traces.span("trigger", source=source):
            asked = app.triggering.ask(request, Asker(by=me()))
            nudged(app, asked.feeds)
    apps = [app_id for _, app_id in asked.ask.feeds]
    if json:
        screen.print_json({"source": source, "apps": apps, "keys": len(asked.ask.keys or ())})
        return
    what = "a poll" if asked.ask.keys is None else f"a read of {screen.counted(len(asked.ask.keys), 'row')}"
    screen.print_line(f"{source}: {what} is asked for; running workers begin it at once.")


def triggers(
    source: Annotated[
        str | None, typer.Option("--source", metavar="ID", help="That named this source alone.")
    ] = None,
    rejected: Annotated[bool, typer.Option("--rejected", help="Only those that could not be met.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Not older: a duration such as 2h, or a date and time.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Lines to show, at most.")] = SHOWN,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show who asked for sources to be read now, and why what was asked for could not be met.

    Equal requests within a minute are one line.

    Example: headrace triggers --rejected --since 2h
    """
    from headrace.cli import screen
    from headrace.cli.audit import moment
    from headrace.cli.session import applied
    from headrace.control.triggers import REJECTED

    begin = None if since is None else moment(since, datetime.now(UTC))
    with applied(config) as app:
        outcome = REJECTED if rejected else None
        found = app.triggers.told(limit=limit, source_id=source, outcome=outcome, since=begin)
    if json:
        screen.print_json([_as_json(line) for line in found])
        return
    if not found:
        screen.print_line("No such trigger is known.")
        return
    columns = [screen.Column(name) for name in ("at", "by", "source", "app", "customer")]
    columns += [screen.Column("requests", right=True), screen.Column("keys", right=True)]
    columns += [screen.Column("outcome"), screen.Column("reason", spare=not any(t.reason for t in found))]
    rows = [
        (t.at, t.asked_by, t.source_id, t.app_id, t.customer, t.requests, t.keys, t.outcome, t.reason)
        for t in found
    ]
    screen.print_table(columns, rows)


def nudged(app: Application, feeds: Sequence[FeedId]) -> None:
    """Workers are told at once; with memory:// the process that runs `headrace up` finds it by itself."""
    from headrace.queue import broker as brokers
    from headrace.queue.nudges import BrokerNudges

    settings = app.settings
    if settings.broker_url.startswith("memory://"):
        return
    broker = brokers.make(settings.broker_url, namespace=settings.queue_namespace)
    nudges = BrokerNudges(broker)
    for feed_id in feeds:
        nudges.poll(feed_id)
    nudges.close()
    broker.close()


def _request(
    source: str, app_id: str | None, customer: str | None, keys: Sequence[str] | None
) -> TriggerRequest:
    """
    Raises:
        ConfigurationError: an option is not as a message may have it.
    """
    from headrace.domain.trigger import TriggerRequest, parsed
    from headrace.errors import ConfigurationError, RefusedError

    given = {"app": app_id, "customer": customer, "keys": [_parts(key) for key in keys] if keys else None}
    try:
        request = parsed(json_module.dumps(given), TriggerRequest)
    except RefusedError as error:
        raise ConfigurationError(f"--{error.detail}".replace("--keys", "--key")) from None
    return request.model_copy(update={"source": source})


def _parts(key: str) -> list[Any]:
    """The parts of a key: one, or those of the JSON array that it is."""
    try:
        parts = json_module.loads(key) if key.startswith("[") else [key]
    except ValueError:
        parts = [key]
    return parts if isinstance(parts, list) else [key]


def _as_json(line: Told) -> dict[str, Any]:
    told = asdict(line)
    return {
        "id": told.pop("id"),
        "at": told.pop("at"),
        "by": told.pop("asked_by"),
        "source": told.pop("source_id"),
        "app": told.pop("app_id"),
        **told,
    }
