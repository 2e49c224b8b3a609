"""`headrace top`: how all is doing, refreshed until somebody has seen enough."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from headrace.cli.options import Config

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headrace.cli.screen import Column
    from headrace.control.status import FeedStatus, Load
    from headrace.wiring import Application

WINDOW_S: Final = 60.0
"""What is told of throughput is told of this long."""
WORST_FIRST: Final = (
    "failing", "merge failing", "late", "paused", "merging", "reconciling", "reading", "new", "ok",
)  # fmt: skip
"""The states of `headrace status`, in the order in which somebody should look at them."""
_LINES_AROUND: Final = 6
"""Above and between the tables, and of their headers."""
_LEAST_REASON: Final = 20


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Look")(top)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What is shown at once.

    Attributes:
        freshness: the lag that a source is judged by, where it has one.
    """

    at: datetime
    feeds: Sequence[FeedStatus]
    loads: Sequence[Load]
    freshness: dict[str, timedelta]

    @classmethod
    def taken(cls, app: Application) -> Frame:
        from headrace.cli.look import freshness_of

        feeds = app.status.feed_status()
        at = feeds[0].seen_at if feeds else app.status.moment()
        loads = app.status.loads(at - timedelta(seconds=WINDOW_S))
        return cls(at=at, feeds=feeds, loads=loads, freshness=freshness_of(app))

    def state_of(self, feed: FeedStatus) -> str:
        from headrace.cli.look import state_of

        return state_of(feed, self.freshness)

    def worst_first(self) -> list[FeedStatus]:
        from headrace.cli.look import lag_of

        def badness(feed: FeedStatus) -> tuple[int, float]:
            lag = lag_of(feed)
            return WORST_FIRST.index(self.state_of(feed)), 0.0 if lag is None else -lag.total_seconds()

        return sorted(self.feeds, key=badness)


def top(
    once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    config: Config = None,
) -> None:
    """Watch how all feeds and data sources are doing, the worst first, until Ctrl-C.

    Where the output is no terminal it is shown once.

    Example: headrace top --interval 5
    """
    from headrace.cli.session import applied

    with applied(config) as app:
        if once or not sys.stdout.isatty():
            print_frame(Frame.taken(app))
        else:
            _watch(app, interval)


def _watch(app: Application, interval_s: float) -> None:
    from rich.live import Live

    from headrace.cli.screen import console
    from headrace.errors import RetryableError

    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started it may ignore it
    screen, told = console(), ""
    drawn = drawing(Frame.taken(app), screen.height, screen.width)
    try:
        with Live(drawn, console=screen, screen=True, auto_refresh=False) as live:
            while True:
                live.update(_noted(drawn, told), refresh=True)
                time.sleep(interval_s)
                try:
                    drawn, told = drawing(Frame.taken(app), screen.height - 1, screen.width), ""
                except RetryableError as error:
                    told = str(error)
    except KeyboardInterrupt:
        return


def _noted(drawn: RenderableType, told: str) -> RenderableType:
    """The last frame, under why there is no newer one."""
    from rich.console import Group
    from rich.text import Text

    return Group(Text(f"as it was before: {told}", style="bold red"), drawn) if told else drawn


def print_frame(frame: Frame) -> None:
    """Plainly, with every feed."""
    from headrace.cli import screen

    screen.print_line(summary(frame), markup=False)
    screen.print_line()
    screen.print_table(*feed_table(frame, frame.worst_first()))
    if frame.loads:
        screen.print_line()
        screen.print_table(*load_table(frame))


def drawing(frame: Frame, height: int, width: int) -> RenderableType:
    """The frame as it fits a terminal: of the feeds the worst."""
    from rich.console import Group
    from rich.text import Text

    from headrace.cli.screen import counted

    columns, rows = load_table(frame)
    loads = rows[: max(1, height // 4)]
    worst = frame.worst_first()
    room = max(1, height - _LINES_AROUND - (len(loads) + 3 if loads else 0))
    shown = worst if len(worst) <= room else worst[: max(1, room - 1)]
    parts: list[RenderableType] = [Text(summary(frame), style="bold", no_wrap=True, overflow="ellipsis"), ""]
    parts.append(_fitted(*feed_table(frame, shown), width))
    if len(shown) < len(worst):
        parts.append(Text(f"and {counted(len(worst) - len(shown), 'feed')} that are no worse", style="dim"))
    if loads:
        parts += ["", _fitted(columns, loads, width)]
    return Group(*parts)


def _fitted(columns: Sequence[Column], rows: Sequence[Sequence[Any]], width: int) -> RenderableType:
    """The last column, which says why, ends where the terminal does."""
    from headrace.cli.screen import fitting, rich_table, text_of, width_of

    cells = [[text_of(value) for value in row] for row in rows]
    kept = fitting(columns[:-1], [row[:-1] for row in cells], width - _LEAST_REASON)
    shown = [[row[i] for i in kept] for row in cells]
    room = max(_LEAST_REASON, width - width_of([columns[i] for i in kept], shown) - 2)
    whole = [[*line, _cut(row[-1], room)] for line, row in zip(shown, cells, strict=True)]
    return rich_table([*(columns[i] for i in kept), columns[-1]], whole)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def summary(frame: Frame) -> str:
    """Two lines on all."""
    from headrace.cli.screen import counted, length

    states = Counter(frame.state_of(feed) for feed in frame.feeds)
    told = ", ".join(f"{states[state]:,} {state}" for state in WORST_FIRST if states[state])
    waiting = sum(load.pending_batches for load in frame.loads)
    oldest = min((x.pending_since for x in frame.loads if x.pending_since is not None), default=None)
    age = "" if oldest is None else f", the oldest for {length((frame.at - oldest).total_seconds())}"
    journalled = sum(load.journalled_rows for load in frame.loads) / WINDOW_S
    merged = sum(load.merged_rows for load in frame.loads) / WINDOW_S
    rejected = sum(feed.rejected for feed in frame.feeds)
    return (
        f"{frame.at:%H:%M:%S} UTC  {counted(len(frame.feeds), 'feed')}: {told or 'none'}\n"
        f"{journalled:,.0f} rows/s journalled, {merged:,.0f} merged (last minute); "
        f"{counted(waiting, 'batch')} waiting{age}; {rejected:,} rejected"
    )


def feed_table(frame: Frame, feeds: Sequence[FeedStatus]) -> tuple[list[Column], list[list[Any]]]:
    """Columns and rows of these feeds."""
    from headrace.cli.look import STATE_STYLES, lag_of, next_poll_of
    from headrace.cli.screen import Column, length

    def row(feed: FeedStatus) -> list[Any]:
        lag, target = lag_of(feed), frame.freshness.get(feed.source_id)
        return [
            feed.source_id,
            feed.app_id,
            frame.state_of(feed),
            None if lag is None else length(lag.total_seconds()),
            None if target is None else length(target.total_seconds()),
            next_poll_of(feed),
            feed.pending_batches,
            feed.rejected,
            feed.failures,
            _why(feed),
        ]

    one_app = len({feed.source_id for feed in frame.feeds}) == len(frame.feeds)
    columns = [
        Column("source"),
        Column("app", spare=one_app),
        Column("state", styles=STATE_STYLES),
        Column("lag", right=True),
        Column("target", right=True, spare=not frame.freshness),
        Column("next", spare=True),
        Column("waiting", right=True),
        Column("rejected", right=True),
        Column("failures", right=True, spare=True),
        Column("why"),
    ]
    return columns, [row(feed) for feed in feeds]


def _why(feed: FeedStatus) -> str | None:
    reason = feed.paused_reason if feed.paused else (feed.last_error if feed.failures else feed.merge_error)
    return None if reason is None else reason.splitlines()[0]


def load_table(frame: Frame) -> tuple[list[Column], list[list[Any]]]:
    """Columns and rows of the data sources in which something happens."""
    from headrace.cli.screen import Column, length

    def row(load: Load) -> list[Any]:
        age = None if load.pending_since is None else (frame.at - load.pending_since).total_seconds()
        return [
            load.data_source_id,
            load.model_id,
            f"{load.journalled_rows / WINDOW_S:,.0f}/s",
            f"{load.merged_rows / WINDOW_S:,.0f}/s",
            f"{load.pending_batches:,}",
            f"{load.pending_rows:,}",
            None if age is None else length(age),
            None if load.error is None else load.error.splitlines()[0],
        ]

    columns = [
        Column("data source"),
        Column("model"),
        Column("journalled", right=True),
        Column("merged", right=True),
        Column("batches", right=True),
        Column("waiting rows", right=True, spare=True),
        Column("oldest", right=True),
        Column("why"),
    ]
    return columns, [row(load) for load in frame.loads]
