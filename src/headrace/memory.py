"""How much memory this process holds."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Final

_MIB: Final = 1024 * 1024
_STATM: Final = Path("/proc/self/statm")


def resident_mib() -> int:
    """What it holds now; where the system does not tell, as macOS, the most that it ever held.

    Source: proc(5), statm; getrusage(2): kilobytes, but bytes on macOS.
    """
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // _MIB
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // _MIB if sys.platform == "darwin" else most // 1024
