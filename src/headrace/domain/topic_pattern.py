"""Patterns of routing keys, as topic exchanges have them: words between dots, `*` for one word, `#` for any
number of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

PATTERN: Final = r"^(\*|#|[a-z][a-z0-9_]*)(\.(\*|#|[a-z][a-z0-9_]*))*$"


def matches(patterns: Iterable[str], routing_key: str) -> bool:
    """One of the patterns is the routing key's."""
    return any(_compiled(pattern).fullmatch(f".{routing_key}") for pattern in patterns)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    words = {"*": r"\.[^.]+", "#": r"(\.[^.]+)*"}
    return re.compile("".join(words.get(word, re.escape(f".{word}")) for word in pattern.split(".")))
