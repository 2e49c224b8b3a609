"""Long lists of parameters, cut into pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

A_STATEMENT: Final = 5_000
"""Ids or keys that one statement binds: servers take some ten thousand at most."""


def slices(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values in pieces that one statement takes."""
    for start in range(0, len(values), A_STATEMENT):
        yield values[start : start + A_STATEMENT]
