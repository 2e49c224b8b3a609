"""What was measured, and its medians."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.measured import Measured


@dataclass(frozen=True, slots=True)
class Result:
    """One run of one peer; `equal` when the target's rows are the source's."""

    peer: str
    round: int
    measured: Measured
    equal: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians of one peer. `ratio`: the median, over rounds, of its time to the first peer's in the
    same round, since a machine drifts between rounds."""

    peer: str
    wall_s: float
    ratio: float
    cpu_s: float
    peak_rss_mib: float
    equal: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    work: str
    rows: int
    results: tuple[Result, ...]

    @property
    def equal(self) -> bool:
        return all(result.equal for result in self.results)

    def summaries(self) -> list[Summary]:
        """One a peer, in the order in which they ran; the first is what ratios are taken against."""
        peers = list(dict.fromkeys(result.peer for result in self.results))
        by_peer = {peer: [r for r in self.results if r.peer == peer] for peer in peers}
        base = {r.round: r.measured.wall_s for r in by_peer[peers[0]]}
        return [
            Summary(
                peer=peer,
                wall_s=statistics.median(r.measured.wall_s for r in runs),
                ratio=statistics.median(r.measured.wall_s / base[r.round] for r in runs),
                cpu_s=statistics.median(r.measured.cpu_s for r in runs),
                peak_rss_mib=max(r.measured.peak_rss_mib for r in runs),
                equal=all(r.equal for r in runs),
            )
            for peer, runs in by_peer.items()
        ]

    def as_json(self) -> dict[str, Any]:
        return {
            "work": self.work,
            "rows": self.rows,
            "summaries": [asdict(summary) for summary in self.summaries()],
            "runs": [asdict(result) for result in self.results],
        }
