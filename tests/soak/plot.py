"""Draws a soak: memory, connections and lag over time. `python -m tests.soak.plot soak.json soak.svg`"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import pyplot as plt

from tests.soak.plan import BY_FORCE, SERVERS
from tests.soak.sample import Footprint, Restart, Sample
from tests.soak.soak import restored
from tests.soak.verdict import BACK_BELOW_S, waiting

WAITING_OVER: Final = 10
SIZE_IN: Final = (9.0, 11.0)


def plot(results: Path, picture: Path) -> None:
    """The picture is there."""
    samples, restarts = restored(json.loads(results.read_text()))
    mpl.rcParams["svg.hashsalt"] = "headrace"  # the same samples make the same file
    figure, axes = plt.subplots(5, 1, figsize=SIZE_IN, sharex=True, layout="constrained")
    _lines(axes[0], samples, "rss_mib", "memory (RSS), MiB")
    _lines(axes[1], samples, "postgres", "connections to PostgreSQL")
    _lines(axes[2], samples, "redis", "connections to Redis")
    _lag(axes[3], samples)
    _waiting(axes[4], samples)
    for axis in axes:
        _mark(axis, restarts)
        axis.grid(visible=True, alpha=0.3)
    axes[4].set_xlabel("minutes; dotted: a process is restarted, dashed: a server; red: by SIGKILL")
    axes[0].legend(ncols=len(axes[0].lines), loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize="small")
    figure.savefig(picture, metadata={"Date": None} if picture.suffix == ".svg" else None)
    plt.close(figure)


def _lines(axis: Any, samples: Sequence[Sample], what: str, label: str) -> None:
    """A line for each process, which breaks where it was restarted."""
    for name in sorted({name for sample in samples for name in sample.processes}):
        held = [(s.at_s / 60, s.processes.get(name)) for s in samples]
        axis.plot([at for at, _ in held], _broken([f for _, f in held], what), label=name, linewidth=1)
    axis.set_ylabel(label)
    axis.set_ylim(bottom=0)


def _broken(held: Sequence[Footprint | None], what: str) -> list[float]:
    nothing = float("nan")
    pids = [None, *(None if f is None else f.pid for f in held)]
    return [
        nothing if f is None or pids[place] not in (None, f.pid) else getattr(f, what)
        for place, f in enumerate(held)
    ]


def _lag(axis: Any, samples: Sequence[Sample]) -> None:
    axis.plot([s.at_s / 60 for s in samples], [s.worst_lag_s for s in samples], linewidth=1, color="black")
    axis.axhline(BACK_BELOW_S, color="tab:green", linewidth=1)
    axis.set_ylabel("lag of the worst of 50 feeds, s")
    axis.set_ylim(bottom=0)


def _waiting(axis: Any, samples: Sequence[Sample]) -> None:
    """Over ten seconds: how much slower the machine was for having other work."""
    places = range(WAITING_OVER, len(samples))
    shares = [100 * waiting(samples[place - WAITING_OVER : place]) for place in places]
    axis.plot([samples[place].at_s / 60 for place in places], shares, linewidth=1, color="tab:brown")
    axis.set_ylabel("waiting for a CPU, %")
    axis.set_ylim(0, 100)


def _mark(axis: Any, restarts: Sequence[Restart]) -> None:
    for restart in restarts:
        axis.axvline(
            restart.at_s / 60,
            linestyle="--" if restart.target in SERVERS else ":",
            color="tab:red" if restart.how == BY_FORCE else "tab:gray",
            linewidth=0.8,
            alpha=0.6,
        )


if __name__ == "__main__":
    plot(Path(sys.argv[1]), Path(sys.argv[2]))
