"""What the formats of files have in common."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.domain.arrow import Table
from headrace.domain.unreadable import Unreadable


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a file as utf8 columns, and the lines that are no rows."""

    rows: Table
    unreadable: tuple[Unreadable, ...] = ()
