"""`headrace audit`: who did what, and what was refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from headrace.cli.options import Config, Json

if TYPE_CHECKING:
    from headrace.control.audit import AuditEntry

SHOWN: Final = 50


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Look")(audit)


def audit(
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Not older: a duration such as 2h, or a date and time.")
    ] = None,
    customer: Annotated[str | None, typer.Option(metavar="ID", help="Of this provided id alone.")] = None,
    group: Annotated[str | None, typer.Option(metavar="ID", help="Of this visibility group alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Lines to show, at most.")] = SHOWN,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show what was done and what was refused, the newest first.

    Example: headrace audit --since 2h --customer acme
    """
    from headrace.cli import screen
    from headrace.cli.session import application

    begin = None if since is None else moment(since, datetime.now(UTC))
    with application(config) as app:
        page = app.audit.list(limit=limit, visibility_group=group, customer=customer, since=begin)
    if json:
        screen.print_json([_as_json(entry) for entry in page.items])
        return
    if not page.items:
        screen.print_line("There is nothing in the audit.")
        return
    columns = [screen.Column(n) for n in ("at", "actor", "action", "outcome", "customer", "schema")]
    columns += [screen.Column("data source"), screen.Column("detail", spare=True)]
    rows = [
        (e.at, e.line.actor, e.line.action, e.line.outcome, e.line.customer, e.line.schema,
         e.line.data_source_id, dict(e.line.detail) or None)
        for e in page.items
    ]  # fmt: skip
    screen.print_table(columns, rows)


def moment(text: str, now: datetime) -> datetime:
    """The moment that is so long ago, or is said.

    Raises:
        ConfigurationError: it is neither.
    """
    from headrace.domain.schedule import Duration
    from headrace.errors import ConfigurationError

    try:
        return now - Duration.parse(text).span
    except (ValueError, OverflowError):
        pass
    try:
        said = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f'--since: "{text}" is neither a duration (2h) nor a date and time (2026-01-31T12:00Z)'
        ) from None
    return said if said.tzinfo else said.replace(tzinfo=UTC)


def _as_json(entry: AuditEntry) -> dict[str, Any]:
    line = entry.line
    return {
        "id": entry.id,
        "at": entry.at,
        "actor": line.actor,
        "action": line.action,
        "outcome": line.outcome,
        "group": line.visibility_group,
        "customer": line.customer,
        "schema": line.schema,
        "data_source": line.data_source_id,
        "epoch": line.epoch,
        "via": line.via,
        "detail": dict(line.detail),
    }
