"""What the numbers were taken on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from benchmarks.database import rows

SERVER_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "work_mem",
    "wal_level",
)


def describe(server_url: str) -> dict[str, Any]:
    """Processor, cores, memory, kernel, Python, and the server's settings that decide its speed."""
    settings = rows(
        server_url,
        "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s) ORDER BY 1",
        [list(SERVER_SETTINGS)],
    )
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "postgresql": dict(settings),
    }


def _processor() -> str:
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor()
