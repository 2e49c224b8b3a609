"""`headrace status` and `runs`: what the control database knows of feeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from headrace.cli.options import Config, Json
from headrace.errors import code_apart

if TYPE_CHECKING:
    from headrace.control.runs import Run
    from headrace.control.status import FeedStatus
    from headrace.domain.vocabulary import DataSourceId, ModelId
    from headrace.wiring import Application

SHOWN_RUNS: Final = 20
STATE_STYLES: Final[Mapping[str, str]] = {
    "failing": "bold red", "merge failing": "bold red", "late": "yellow", "paused": "yellow",
    "merging": "cyan", "reconciling": "cyan", "reading": "cyan", "ok": "green",
}  # fmt: skip
NO_SOURCE: Final = "No source is defined yet: headrace discover APP shows what a database offers."


def register(app: typer.Typer) -> None:
    panel = "Look"
    app.command(rich_help_panel=panel)(status)
    app.command(rich_help_panel=panel)(runs)


def status(config: Config = None, json: Json = False) -> None:
    """Show how every feed is doing: its class, when it last succeeded, what waits, what is wrong.

    Example: headrace status --json
    """
    from headrace.cli import screen
    from headrace.cli.session import applied
    from headrace.steps.limits import CUT

    with applied(config) as app:
        feeds = app.status.feed_status()
        held = _held_rows(app)
        drift = app.drift.drifted()
        freshness = freshness_of(app)
    if json:
        screen.print_json([_status_as_json(f, held.get(f.feed_id, 0), freshness, drift) for f in feeds])
        return
    if not feeds:
        screen.print_line(NO_SOURCE)
        return
    one_app = len({feed.source_id for feed in feeds}) == len(feeds)
    columns = [screen.Column("source"), screen.Column("app", spare=one_app)]
    columns += [screen.Column("class"), screen.Column("state", styles=STATE_STYLES)]
    columns += [screen.Column(n) for n in ("succeeded", "next")]
    columns += [
        screen.Column("waiting", right=True, spare=not any(feed.pending_batches for feed in feeds)),
        screen.Column("rejected", right=True, spare=not any(feed.rejected for feed in feeds)),
        screen.Column("held", right=True, spare=not any(held.values())),
    ]
    screen.print_table(columns, [_status_row(f, held.get(f.feed_id, 0), freshness) for f in feeds])
    for feed in feeds:
        for what, why in (
            ("", None if feed.stopped_by_drift or feed.stopped_by_failures else feed.last_error),
            ("merge: ", feed.merge_error),
            (_paused(feed), feed.paused_reason),
            (f"{feed.feed_class}: ", feed.class_reason),
            *(("", note) for note in feed.source_notes),
            *((f"data source {id_} ", CUT) for id_ in feed.cut),
        ):
            if why:
                screen.print_line(f"{feed.source_id}: {what}{why}", markup=False)
        if held.get(feed.feed_id):
            screen.print_line(breaker_line(feed.source_id, held[feed.feed_id]), markup=False)
    for (data_source_id, model_id), lacking in drift.items():
        screen.print_line(
            f"data source {data_source_id}, model {model_id}: drifted: {'; '.join(lacking)}: headrace apply",
            markup=False,
        )


def runs(
    source: Annotated[
        str | None, typer.Option("--source", metavar="ID", help="Of this source alone.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Runs to show, at most.")] = SHOWN_RUNS,
    config: Config = None,
    json: Json = False,
) -> None:
    """List the latest runs, the newest first. A poll that found nothing leaves none.

    Example: headrace runs --source purchases --limit 5
    """
    from headrace.cli import screen
    from headrace.cli.session import applied, applied_source

    with applied(config) as app:
        if source is not None:
            applied_source(app, source)
        found = app.runs.runs(limit=limit, source_id=source)
    if json:
        screen.print_json([_run_as_json(run) for run in found])
        return
    if not found:
        screen.print_line("There are no runs yet.")
        return
    columns = [screen.Column(n) for n in ("started", "source", "trigger", "state")]
    columns += [screen.Column("took", right=True, spare=True), screen.Column("read", right=True)]
    columns += [screen.Column("journalled", right=True, spare=True), screen.Column("merged", right=True)]
    columns += [screen.Column("rejected", right=True, spare=not any(run.rejected for run in found))]
    screen.print_table(columns, [_run_row(run) for run in found])
    for run in found:
        if run.error:
            screen.print_line(f"{run.source_id}: {run.error}", markup=False)


def breaker_line(source_id: str, rows: int) -> str:
    """What a breaker held back, and how to let it go."""
    from headrace.cli.screen import counted

    return (
        f"{source_id}: the source lacks {counted(rows, 'row')} that the data source has, too many to remove "
        f"unasked; if that is right: headrace reconcile {source_id} --confirm"
    )


def _held_rows(app: Application) -> dict[str, int]:
    """Rows that breakers hold, by feed; a data source that cannot be asked is told on stderr."""
    from headrace.cli.problem import with_mend
    from headrace.errors import HeadraceError
    from headrace.logs import scrubbed

    held: dict[str, int] = {}
    for data_source_id in dict.fromkeys(data_source for data_source, _ in app.targets()):
        try:
            for feed_id, rows in app.stores.open(data_source_id).held_rows().items():
                held[feed_id] = held.get(feed_id, 0) + rows
        except HeadraceError as error:
            typer.echo(scrubbed(with_mend(f"data source {data_source_id}: {error}")), err=True)
    return held


def freshness_of(app: Application) -> dict[str, timedelta]:
    """The lag that each source is judged by, as applied."""
    from headrace.domain.schedule import Duration

    schedules = {
        id_: body.get("schedule", {})
        for (kind, id_), body in app.catalogue().bodies.items()
        if kind == "sources"
    }
    return {
        id_: Duration.parse(schedule["freshness"]).span
        for id_, schedule in schedules.items()
        if schedule.get("freshness")
    }


def lag_of(feed: FeedStatus) -> timedelta | None:
    return None if feed.last_success_at is None else feed.seen_at - feed.last_success_at


def _is_late(feed: FeedStatus, freshness: dict[str, timedelta]) -> bool:
    allowed, lag = freshness.get(feed.source_id), lag_of(feed)
    return allowed is not None and (lag is None or lag > allowed)


def state_of(feed: FeedStatus, freshness: dict[str, timedelta]) -> str:
    """One word for how a feed is: the worst that is true of it."""
    if feed.paused:
        return "paused"
    if feed.failures:
        return "failing"
    if feed.backing_off:
        return "merge failing"
    if _is_late(feed, freshness):
        return "late"
    if feed.polling:
        return "reconciling" if feed.reconciling else "reading"
    if feed.pending_batches:
        return "merging"
    return "new" if feed.checked_at is None else "ok"


def _status_row(feed: FeedStatus, held: int, freshness: dict[str, timedelta]) -> list[Any]:
    from headrace.cli.screen import ago

    return [
        feed.source_id,
        feed.app_id,
        feed.feed_class,
        state_of(feed, freshness),
        ago(feed.last_success_at, feed.seen_at),
        next_poll_of(feed),
        feed.pending_batches,
        feed.rejected,
        held,
    ]


def _paused(feed: FeedStatus) -> str:
    """Since when, and what ends it, unless the reason says that itself."""
    from headrace.cli.screen import ago

    since = "" if feed.paused_at is None else f" {ago(feed.paused_at, feed.seen_at)}"
    return f"paused{since}" + (": " if feed.stopped_by_drift else f", headrace resume {feed.source_id}: ")


def next_poll_of(feed: FeedStatus) -> str:
    from headrace.cli.screen import ago

    if feed.paused:
        return "when resumed"
    if feed.next_due is None:
        return "when asked"
    return "now" if feed.next_due <= feed.seen_at else ago(feed.next_due, feed.seen_at)


def _status_as_json(
    feed: FeedStatus,
    held: int,
    freshness: dict[str, timedelta],
    drift: Mapping[tuple[DataSourceId, ModelId], Sequence[str]],
) -> dict[str, Any]:
    lag = lag_of(feed)
    error, code = code_apart(feed.last_error or feed.merge_error or "")
    return {
        "source": feed.source_id,
        "app": feed.app_id,
        "model": feed.model_id,
        "feed": feed.feed_id,
        "state": state_of(feed, freshness),
        "class": feed.feed_class,
        "class_reason": feed.class_reason or None,
        "source_notes": feed.source_notes,
        "paused_reason": feed.paused_reason,
        "paused_since": feed.paused_at,
        "lag_s": None if lag is None else round(lag.total_seconds(), 3),
        "last_success_at": feed.last_success_at,
        "checked_at": feed.checked_at,
        "next_due": feed.next_due,
        "lead": _position(feed.lead),
        "saved": _position(feed.saved),
        "first_read_done": feed.first_stream_done,
        "reconciling": feed.reconciling,
        "cut": list(feed.cut),
        "pending_batches": feed.pending_batches,
        "pending_rows": feed.pending_rows,
        "pending_since": feed.pending_since,
        "rejected": feed.rejected,
        "held": held,
        "drifted": {
            data_source: lacking for (data_source, model), lacking in drift.items() if model == feed.model_id
        },
        "failures": feed.failures,
        "error": error or None,
        "error_code": code,
    }


def _position(position: Any) -> dict[str, Any] | None:
    return None if position is None else {"cursor": position.cursor, "key": position.key}


def _run_row(run: Run) -> list[Any]:
    from headrace.cli.screen import ago

    took = None if run.ended_at is None else f"{_seconds(run.started_at, run.ended_at):.2f} s"
    counts = (run.rows_read, run.rows_journalled, run.rows_merged, run.rejected)
    return [
        ago(run.started_at, datetime.now(UTC)),
        run.source_id,
        run.trigger,
        run.state,
        took,
        *(f"{c:,}" for c in counts),
    ]


def _seconds(started: datetime, ended: datetime) -> float:
    return (ended - started).total_seconds()


def _run_as_json(run: Run) -> dict[str, Any]:
    return {
        "run": run.id,
        "source": run.source_id,
        "app": run.app_id,
        "trigger": run.trigger,
        "state": run.state,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "rows_read": run.rows_read,
        "rows_journalled": run.rows_journalled,
        "rows_merged": run.rows_merged,
        "rejected": run.rejected,
        "from": _position(run.started),
        "to": _position(run.ended),
        "error": code_apart(run.error)[0] if run.error else None,
        "error_code": code_apart(run.error)[1] if run.error else None,
    }
