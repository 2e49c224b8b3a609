"""When a row changed, by its cursor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from headrace.domain.arrow import pa, pc
from headrace.domain.coercion import coerce
from headrace.domain.vocabulary import PropertyType

_DAY: Final = r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}"


def cursor_times(cursors: Sequence[str], time_zone: str) -> list[datetime | None]:
    """The moment that each of these cursors is, of one or many columns; None for one that names no day: a
    number is a version, and not the seconds since 1970.

    Args:
        cursors: in the source's own text.
        time_zone: IANA name, of those without an offset.
    """
    texts = pa.array(cursors, pa.string())
    texts = pc.if_else(pc.match_substring_regex(texts, _DAY), texts, pa.scalar(None, pa.string()))
    moments = coerce(texts, PropertyType.DATETIME, time_zone=time_zone).values.to_pylist()
    return [None if moment is None else moment.astimezone(UTC) for moment in moments]


def is_when_changed(clock: str) -> bool:
    """The definition promises that the cursor says when a row changed: a clock sets it at each change.

    Args:
        clock: as in a feed's plan.
    """
    return clock == "database" or clock.startswith("skew:")
