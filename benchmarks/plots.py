"""The pictures of docs/performance.md, drawn from published results: on no ground, in colours that are read
on light and on dark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.outcome import Outcome, Summary

_TEXT = "#7d8590"
_COLOURS = {"headrace": "#2f81f7", "reference": "#7d8590"}
_SECOND, _OTHERS = "#bf6a1f", "#8f6bd6"
_STYLE: Any = {
    "axes.edgecolor": _TEXT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": _TEXT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": _TEXT,
    "axes.titlesize": "medium",
    "figure.facecolor": "none",
    "font.size": 10,
    "grid.alpha": 0.25,
    "grid.color": _TEXT,
    "legend.frameon": False,
    "legend.labelcolor": _TEXT,
    "lines.linewidth": 1.8,
    "lines.marker": "o",
    "lines.markersize": 4,
    "savefig.transparent": True,
    "text.color": _TEXT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
}
_WIDTH_IN, _HEIGHT_IN, _DPI = 8.0, 3.1, 110


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture.

    Attributes:
        works: whose results it needs, in the order in which they are drawn, one panel each or as `draw` will.
        says: its alternative text.
    """

    name: str
    works: tuple[str, ...]
    says: str
    draw: Callable[[Figure, Sequence[Outcome]], None]


def draw_all(outcomes: Mapping[str, Outcome], directory: Path) -> list[Plot]:
    """Those whose results are there, as PNG files; gives which."""
    drawn = [plot for plot in PLOTS if all(work in outcomes for work in plot.works)]
    directory.mkdir(parents=True, exist_ok=True)
    for plot in drawn:
        with mpl.rc_context(_STYLE):
            figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
            plot.draw(figure, [outcomes[work] for work in plot.works])
            # Nothing of the moment or of the library's release: equal results give equal files.
            figure.savefig(directory / f"{plot.name}.png", dpi=_DPI, metadata={"Software": None})
    return drawn


def _rows(figure: Figure, outcomes: Sequence[Outcome]) -> None:
    left, right = figure.subplots(1, 2)
    for peer, summaries in _by_peer(outcomes[0]).items():
        millions = [summary.point / 1e6 for summary in summaries]
        seconds = [summary.figures["wall_s"] for summary in summaries]
        left.plot(millions, seconds, color=_COLOURS[peer], label=peer)
        if peer == "headrace":
            memory = [summary.figures["peak_rss_mib"] for summary in summaries]
            right.plot(millions, memory, color=_COLOURS[peer], label=peer)
    _label(left, "W1: seconds", "million rows")
    _label(right, "peak RSS of headrace sync, MiB", "million rows")
    left.legend()


def _feeds(figure: Figure, outcomes: Sequence[Outcome]) -> None:
    left, right = figure.subplots(1, 2)
    summaries = _by_peer(outcomes[0])["headrace"]
    feeds = [summary.point for summary in summaries]
    due = feeds
    left.plot(feeds, due, color=_TEXT, linestyle="--", marker="", label="due")
    left.plot(feeds, [s.figures["polls_per_s"] for s in summaries], color=_COLOURS["headrace"], label="done")
    left.set(xscale="log", yscale="log")
    _label(left, "W3: idle polls a second", "feeds, each due every second")
    left.legend()
    parts = ("fetch", "scheduler", "merge", "redis", "postgresql")
    shares = [[s.figures.get(f"cpu_ms_per_poll_{part}", 0.0) for s in summaries] for part in parts]
    right.stackplot(feeds, shares, labels=parts, alpha=0.75, colors=_PARTS)
    right.set(xscale="log")
    _label(right, "CPU of one poll, ms", "feeds")
    right.legend(fontsize="small", ncols=2)


_PARTS = ("#2f81f7", "#8f6bd6", "#3a9d6e", "#bf6a1f", "#7d8590")


def _properties(figure: Figure, outcomes: Sequence[Outcome]) -> None:
    panels = figure.subplots(1, 2)
    parts = (("load_s", "W5, first load: seconds"), ("changed_s", "W5, a tenth changed: seconds"))
    for panel, (name, title) in zip(panels, parts, strict=True):
        for peer, summaries in _by_peer(outcomes[0]).items():
            points = [summary.point for summary in summaries]
            panel.plot(points, [s.figures[name] for s in summaries], color=_COLOURS[peer], label=_hand(peer))
        _label(panel, title, "properties")
    panels[0].legend()


def _hand(peer: str) -> str:
    return "by hand in SQL" if peer == "reference" else peer


def _load(figure: Figure, outcomes: Sequence[Outcome]) -> None:
    panel = figure.subplots()
    summaries = _by_peer(outcomes[0])["headrace"]
    points = [summary.point for summary in summaries]
    for name, colour in (("p50_ms", _COLOURS["headrace"]), ("p99_ms", _SECOND)):
        values = [summary.figures[name] for summary in summaries]
        panel.plot(points, values, color=colour, label=name.removesuffix("_ms"))
    panel.set(xscale="log")
    panel.set_xticks(points, [f"{point:g}" for point in points])
    panel.minorticks_off()
    _label(panel, "freshness, ms", "new rows a second, each with its trigger, on Redis")
    panel.legend()


def _peers(figure: Figure, outcomes: Sequence[Outcome]) -> None:
    panels = figure.subplots(1, 2, sharey=True)
    titles = ("W1, first load: x the reference", "W2, a tenth changed: x the reference")
    ratios = [{s.peer: s.ratios["wall_s"] for s in o.summaries() if "wall_s" in s.ratios} for o in outcomes]
    peers = sorted(ratios[0].keys() & ratios[1].keys(), key=lambda peer: ratios[0][peer])
    for panel, found, title in zip(panels, ratios, titles, strict=True):
        colours = [_COLOURS.get(peer, _OTHERS) for peer in peers]
        bars = panel.barh(peers, [found[peer] for peer in peers], color=colours)
        panel.bar_label(bars, fmt="%.2f", padding=3, color=_TEXT)
        panel.set_xscale("log")
        panel.set_xlim(0.5, max(found.values()) * 3)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.grid(visible=False, axis="y")
        _label(panel, title, "")
    panels[0].invert_yaxis()


def _by_peer(outcome: Outcome) -> dict[str, list[Summary]]:
    summaries = outcome.summaries()
    return {peer: [s for s in summaries if s.peer == peer] for peer in {s.peer: None for s in summaries}}


def _label(panel: Axes, title: str, below: str) -> None:
    panel.set_title(title, loc="left")
    panel.set_xlabel(below)
    if panel.get_yscale() == "linear" and panel.lines:
        panel.set_ylim(bottom=0)


PLOTS = (
    Plot("peers", ("W1-peers", "W2-peers"), "Headrace beside the peers, in times of the reference", _peers),
    Plot("rows", ("growth-W1",), "Time and memory of a first load as rows grow", _rows),
    Plot("properties", ("growth-W5",), "Time of a secondary source as its properties grow", _properties),
    Plot("feeds", ("growth-W3",), "Idle polls and their CPU as feeds grow", _feeds),
    Plot("freshness", ("growth-W4",), "Freshness as changes a second grow", _load),
)
