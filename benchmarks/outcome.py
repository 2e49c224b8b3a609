"""What was measured, and its medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

_OURS = ("headrace", "reference")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run of one peer.

    Attributes:
        figures: what was measured, by name with its unit (`wall_s`, `cpu_s`, `peak_rss_mib`, `p99_ms`); none
            when it could not run, and `note` says why.
        equal: the target's rows were the source's.
        point: where on the axis of a growth (rows, feeds, properties); 0 where there is none.
    """

    peer: str
    round: int
    figures: Mapping[str, float]
    equal: bool
    point: float = 0
    note: str = ""

    @property
    def ran(self) -> bool:
        return bool(self.figures)


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians of one peer at one point.

    Attributes:
        figures: by name; of `peak_` ones the greatest.
        ratios: by the same names: the median, over rounds, of its figure to the first peer's in the same
            round, since a machine drifts between rounds.
    """

    peer: str
    point: float
    rounds: int
    figures: Mapping[str, float]
    ratios: Mapping[str, float]
    equal: bool
    note: str


@dataclass(slots=True)
class Outcome:
    """All results of a work so far, and what they were taken on.

    Attributes:
        extent: `count` and `seconds`.
        code: digest of the code that was measured.
        finished: rounds that are there whole.
    """

    work: str
    extent: Mapping[str, float]
    code: str
    machine: Mapping[str, Any]
    at: str
    finished: int = 0
    results: list[Result] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """As far as it is ours: a peer's difference is its own row of the table."""
        return all(result.equal for result in self.results if result.peer.startswith(_OURS))

    @property
    def rounds(self) -> int:
        return max((result.round for result in self.results), default=0)

    def forget_after(self, number: int) -> None:
        """Of a round that was not finished nothing is left."""
        self.results = [result for result in self.results if result.round <= number]

    def summaries(self) -> list[Summary]:
        """One a peer and point, in the order in which they ran; at each point the first is what ratios are
        taken against."""
        found = []
        for point in dict.fromkeys(result.point for result in self.results):
            here = [result for result in self.results if result.point == point]
            peers = list(dict.fromkeys(result.peer for result in here))
            first = peers[0] if len(peers) > 1 else ""  # one alone is beside nobody
            base = {result.round: result.figures for result in here if result.peer == first}
            found += [_summary([r for r in here if r.peer == peer], base) for peer in peers]
        return found

    def value(self, figure: str, *, of: str, beside: str | None = None) -> float | None:
        """The median over rounds of a figure, or of its ratio to that of `beside` in the same round; of a
        peak the greatest. None when there is no result."""
        mine = {r.round: r.figures[figure] for r in self.results if r.peer == of and figure in r.figures}
        if beside is None:
            return _middle(figure)(mine.values()) if mine else None
        theirs = {r.round: r.figures[figure] for r in self.results if r.peer == beside and r.ran}
        ratios = [value / theirs[number] for number, value in mine.items() if theirs.get(number)]
        return statistics.median(ratios) if ratios else None

    def as_json(self) -> dict[str, Any]:
        return {
            "work": self.work,
            "at": self.at,
            "code": self.code,
            "extent": dict(self.extent),
            "machine": dict(self.machine),
            "finished": self.finished,
            "summaries": [asdict(summary) for summary in self.summaries()],
            "results": [asdict(result) for result in self.results],
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Outcome:
        kept = {name: body[name] for name in ("work", "extent", "code", "machine", "at", "finished")}
        return cls(**kept, results=[Result(**result) for result in body["results"]])


def _middle(figure: str) -> Callable[[Iterable[float]], float]:
    return max if figure.startswith("peak_") else statistics.median


def _summary(runs: list[Result], base: Mapping[int, Mapping[str, float]]) -> Summary:
    figures, ratios = {}, {}
    for name in dict.fromkeys(name for result in runs for name in result.figures):
        mine = {result.round: result.figures[name] for result in runs if name in result.figures}
        figures[name] = _middle(name)(mine.values())
        found = [value / base[n][name] for n, value in mine.items() if base.get(n, {}).get(name)]
        if found:
            ratios[name] = statistics.median(found)
    return Summary(
        peer=runs[0].peer,
        point=runs[0].point,
        rounds=len(runs),
        figures=figures,
        ratios=ratios,
        equal=all(result.equal for result in runs),
        note=next((result.note for result in runs if result.note), ""),
    )
