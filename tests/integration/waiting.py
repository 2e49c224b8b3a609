"""Waiting for what other processes and threads do, where they give no signal."""

from __future__ import annotations

import time
from collections.abc import Callable

SOON_S = 60.0


def until(condition: Callable[[], bool], timeout_s: float = SOON_S) -> None:
    """The condition is true; a test whose condition does not come true in time fails."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)
