"""Every kind of fault that can be had here."""

from __future__ import annotations

from collections.abc import Sequence

from tests.faults.broker_faults import (
    DoubledNudges,
    DroppedNudges,
    EmptiedBroker,
    KilledBroker,
    ReorderedNudges,
)
from tests.faults.kind import Kind
from tests.faults.link_faults import Partition, Reset, Slow
from tests.faults.process_faults import Freeze, Kill, Restart
from tests.faults.server_faults import ClockBack, ClockForward, Crash, FullDisk
from tests.faults.table_faults import BulkDelete, RenamedColumn, UnusedColumn, WiderType


def kinds_of(*, disk: bool, clock: bool) -> Sequence[Kind]:
    """Every kind that can be had here."""
    everywhere: list[Kind] = [
        Kill(), Freeze(), Restart(), DoubledNudges(), DroppedNudges(), ReorderedNudges(), EmptiedBroker(),
        KilledBroker(), Reset(), Slow(), Partition(), Crash(), UnusedColumn(), WiderType(), RenamedColumn(),
        BulkDelete(),
    ]  # fmt: skip
    if disk:
        everywhere.append(FullDisk())
    if clock:
        everywhere += [ClockForward(), ClockBack()]
    return everywhere
