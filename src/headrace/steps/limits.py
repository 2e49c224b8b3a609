"""What bounds a visit of a fetch worker, and who watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from headrace.domain.vocabulary import SourceId
from headrace.ports import ReadPlan

Progress = Callable[[SourceId, int], None]
"""Told after each journalled page: the source and how many rows were read."""


def no_progress(_source: SourceId, _rows: int) -> None:
    """Nobody watches."""


CUT = "takes no batches: what was for it is left out, and is read again in full when it does"
"""What is true of a data source whose log is cut, for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a visit.

    Attributes:
        page_rows, page_bytes: upper bounds of a page, whatever the source's schedule says.
        max_cell_bytes: a bigger cell stays in its source.
        max_batches, max_bytes: unmerged batches of a feed in one data source, before it waits.
        lane_rows, lane_bytes: a lane with more than this is read only with a reconciliation.
        key_requests: keys that are fetched by one statement, at most.
        reread_share: the part of the time that may go into reading rows behind the fence again.
    """

    lease_s: float
    page_rows: int
    page_bytes: int
    max_batches: int
    max_bytes: int
    max_cell_bytes: int = 1024 * 1024
    lane_rows: int = 10_000
    lane_bytes: int = 32 * 1024 * 1024
    key_requests: int = 10_000
    reread_share: float = 0.2

    def bounded(self, read: ReadPlan) -> ReadPlan:
        return replace(
            read,
            page_rows=min(read.page_rows, self.page_rows),
            page_bytes=min(read.page_bytes, self.page_bytes),
            max_cell_bytes=self.max_cell_bytes,
        )
