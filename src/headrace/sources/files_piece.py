"""What the formats of files have in common."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.domain.arrow import Table


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a file as utf8 columns, and why each line that is no row is none, for a person."""

    rows: Table
    unreadable: tuple[str, ...] = ()
