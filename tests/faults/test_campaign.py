"""A short fault campaign; `make faults SEED=n` is the long one. Alone in its file, for it takes a worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.campaign import campaign

pytestmark = pytest.mark.services

SEED = int(os.environ.get("HEADRACE_FAULTS_SEED", "7"))
SECONDS = 90.0
FAULTS = 45
LEAST_FAULTS = 20
LEAST_TYPES = 8
LONGEST_TRANSACTION_S = 15.0


def test_under_faults_of_every_kind_nothing_is_lost_stale_doubled_or_foreign(tmp_path: Path) -> None:
    report = campaign(
        tmp_path / "project",
        seed=SEED,
        seconds=SECONDS,
        faults=FAULTS,
        longest_transaction_s=LONGEST_TRANSACTION_S,
        say=print,
    )
    print(f"\n{report}")
    assert report.number >= LEAST_FAULTS
    assert report.types >= LEAST_TYPES
    assert not report.bugs
    assert report.verdict is not None
    assert report.verdict.clean, str(report.verdict)
