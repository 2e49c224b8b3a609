"""The short form of `make soak`. Alone in its file, for it takes a worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.acceptance.survival import ENVIRONMENT
from tests.soak.plan import pace_of
from tests.soak.soak import soak

pytestmark = pytest.mark.services

SEED = int(os.environ.get("HEADRACE_SOAK_SEED", "7"))
SECONDS = 150.0


def test_restarts_of_everything_leak_nothing_lose_nothing_and_lag_for_seconds(tmp_path: Path) -> None:
    soaked = soak(
        tmp_path / "project",
        seed=SEED,
        seconds=SECONDS,
        pace=pace_of(SECONDS),
        settings=ENVIRONMENT,
        say=print,
    )
    print(f"\n{soaked.verdict}")
    assert {restart.target for restart in soaked.restarts} >= {"fetch", "merge", "relay", "redis", "postgres"}
    assert soaked.verdict.end.records > 1_000
    assert soaked.verdict.end.events > 2_000
    assert not soaked.verdict.faults, "\n".join(soaked.verdict.faults)
