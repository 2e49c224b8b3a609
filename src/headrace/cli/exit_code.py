"""The exit codes of the `headrace` command."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
FAILED: Final = 1
MISUSED: Final = 2
"""Bad usage, settings or definitions: nothing was tried."""
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
