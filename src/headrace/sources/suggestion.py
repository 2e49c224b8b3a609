"""Guesses which column of a table says when a row changed, for `discover`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from headrace.domain.vocabulary import PropertyType
from headrace.ports import ColumnFacts

_BY_PREFERENCE: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"updated_?(at|on|time)?$",
        r"last_?updated?(_?(at|on|time))?$",
        r"(last_?)?modified(_?(at|on|time|date))?$",
        r".*(update|modif|change).*",
        r"created_?(at|on)?$",
        r".*_at$",
    )
)


def suggest_cursor(columns: Sequence[ColumnFacts]) -> str | None:
    """The date-time column whose name speaks most of changes, else a date so named, else None."""
    for wanted in (PropertyType.DATETIME, PropertyType.DATE):
        names = [column.name for column in columns if column.type is wanted]
        for pattern in _BY_PREFERENCE:
            for name in names:
                if pattern.match(name):
                    return name
    return None
