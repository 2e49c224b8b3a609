"""What a pause of a feed, and its end, are in the control database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.control.tables import PausedBy
from headrace.control.types import now

RESUMED: Final[Mapping[str, Any]] = {
    "paused": False,
    "paused_by": None,
    "paused_reason": None,
    "paused_at": None,
    "gave_up": False,
    "lasting_failures": 0,
    "again": True,
}
"""It is polled once more, at once."""


def paused(by: PausedBy, reason: str) -> dict[str, Any]:
    """No poll of it begins any more, until it is resumed."""
    why = {"paused_by": by.value, "paused_reason": reason, "gave_up": False}
    return {"paused": True, "paused_at": now(), **why}


def paused_for_failures(reason: str) -> dict[str, Any]:
    """Likewise, as Headrace gave it up."""
    return {**paused(PausedBy.DRIFT, reason), "gave_up": True}
