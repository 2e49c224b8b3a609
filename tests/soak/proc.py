"""What Linux tells of processes, and whose each connection is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

_SOCKET: Final = re.compile(r"socket:\[([0-9]+)\]")
_NUMBER: Final = re.compile(r"^(VmRSS|Threads):\s+([0-9]+)", re.MULTILINE)


def status(pid: int) -> Mapping[str, int]:
    """`VmRSS` in KiB and `Threads` of a living process; empty when it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        told = Path(f"/proc/{pid}/status").read_text()
        return {name: int(number) for name, number in _NUMBER.findall(told)}
    return {}


def scheduled(pid: int) -> tuple[float, float]:
    """For how long the living threads of the process were on a CPU, and waited for one, in seconds."""
    ran_ns = waited_ns = 0
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                ran, waited, _ = (task / "schedstat").read_text().split()
                ran_ns, waited_ns = ran_ns + int(ran), waited_ns + int(waited)
    return ran_ns / 1e9, waited_ns / 1e9


def descriptors(pid: int) -> list[str]:
    """What each open descriptor of the process is; empty when it has ended."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found.append(str(entry.readlink()))
    return found


def sockets() -> dict[str, int]:
    """The local port of each TCP socket on this machine, by inode."""
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(FileNotFoundError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                found[fields[9]] = int(fields[1].rpartition(":")[2], 16)
    return found


def ports(descriptors: Iterable[str], sockets: Mapping[str, int]) -> set[int]:
    """The local ports of the sockets among the descriptors."""
    inodes = (match[1] for match in map(_SOCKET.fullmatch, descriptors) if match)
    return {sockets[inode] for inode in inodes if inode in sockets}
