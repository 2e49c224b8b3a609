"""Moments on the clocks of a time zone, near a fall-back of which local times run twice."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

_SPAN: Final = timedelta(hours=3)
"""No clock falls back by more."""


def wall(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def lowered_wall(moment: datetime, zone: str) -> datetime:
    """A local time that none at or after the moment is below: lower by the shift before a fall-back."""
    local = wall(moment, zone)
    return local - max(timedelta(), _SPAN - (wall(moment + _SPAN, zone) - local))


def raised_wall(moment: datetime, zone: str) -> datetime:
    """A local time that none at or before the moment is above: higher by the shift after a fall-back."""
    local = wall(moment, zone)
    return local + max(timedelta(), _SPAN - (local - wall(moment - _SPAN, zone)))
