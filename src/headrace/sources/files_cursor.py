"""The order of cursors in files: whole numbers, or dates and date-times, and nothing else."""

from __future__ import annotations

import re
from typing import Final

from headrace.domain.arrow import Array, pa, pc
from headrace.domain.coercion import coerce
from headrace.domain.vocabulary import PropertyType

_WHOLE: Final = r"\A[+-]?[0-9]{1,19}\z"
_WHOLE_TEXT: Final = re.compile(r"[+-]?[0-9]{1,19}")


def is_whole(text: str) -> bool:
    """The text is a number, not a time."""
    return _WHOLE_TEXT.fullmatch(text) is not None


def whole_ranks(texts: Array) -> Array:
    """The numbers (int64); null for all other texts."""
    numbers = pc.fill_null(pc.match_substring_regex(texts, _WHOLE), False)
    only = pc.if_else(numbers, texts, pa.scalar(None, pa.string()))
    return coerce(only, PropertyType.INTEGER, time_zone="UTC").values


def time_ranks(texts: Array, time_zone: str) -> Array:
    """Microseconds since 1970 (int64) of dates and ISO date-times; null for all other texts."""
    numbers = pc.fill_null(pc.match_substring_regex(texts, _WHOLE), True)
    only = pc.if_else(numbers, pa.scalar(None, pa.string()), texts)
    return coerce(only, PropertyType.DATETIME, time_zone=time_zone).values.cast(pa.int64())


def rank_of(text: str, time_zone: str) -> int | None:
    """The rank of one text, None when it has none."""
    texts = pa.array([text], pa.string())
    ranks = whole_ranks(texts) if is_whole(text) else time_ranks(texts, time_zone)
    rank: int | None = ranks[0].as_py()
    return rank
