"""Long lists in pieces: each piece says where the next begins."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from headrace.domain.refusal import Refusal
from headrace.errors import RefusedError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list, in its order; `next` is None at its end."""

    items: tuple[T, ...]
    next: str | None = None


def page_of(found: Sequence[T], limit: int, place: Callable[[T], str]) -> Page[T]:
    """The first `limit` of what was found, which is one more when there is more.

    Args:
        place: what an item is ordered by; never the same for two.
    """
    items = tuple(found[:limit])
    return Page(items, cursor_of(place(items[-1])) if len(found) > limit else None)


def cursor_of(place: str) -> str:
    """A text that a URL may hold, for `place_of`."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def place_of(cursor: str) -> str:
    """What `cursor_of` was given.

    Raises:
        RefusedError: the cursor is none of ours.
    """
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        place = ""
    if not place or "\0" in place:
        raise RefusedError(Refusal.INVALID, "after: it is no cursor of a list; give the `next` of a page")
    return place
