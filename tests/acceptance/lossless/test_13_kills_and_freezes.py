"""Acceptance 13: workers killed 60 times and stopped past their leases, over Redis."""

from __future__ import annotations

import random
import uuid

import pytest

from tests.acceptance.campaign import Control, Fleet, Freezes, Kills
from tests.acceptance.project import Project
from tests.acceptance.survival import survive

pytestmark = pytest.mark.services

KILLS = 60
# Healing is quick, so that what one kill broke is not what the next one hits.
QUICK = {
    "HEADRACE_LEASE_S": "2",
    "HEADRACE_SWEEP_EVERY_S": "0.5",
    "HEADRACE_RESEND_AFTER_S": "1",
    "HEADRACE_NUDGE_LOST_S": "1",
}
FREEZES = ("fetch-1", "fetch-2", "fetch-1")


def test_13_sixty_kills_and_stale_writers_lose_and_double_nothing(
    renters: Project, redis_server: str
) -> None:
    url = f"{redis_server.rstrip('/')}/{random.randrange(1, 16)}"
    namespace = f"headrace_test_{uuid.uuid4().hex[:12]}"
    renters.environment |= QUICK | {"HEADRACE_BROKER_URL": url, "HEADRACE_QUEUE_NAMESPACE": namespace}
    kills, freezes = Kills(), Freezes()

    def trouble(fleet: Fleet, control: Control) -> None:
        # Freezes first: what a killed worker leaves is taken over too.
        for victim in FREEZES:
            freezes.freeze_until_taken_over(fleet, victim, control)
        kills.kill_in_turn(fleet, control, kills=KILLS)

    survive(renters, seed=13, trouble=trouble)
    print(f"{kills}; {freezes}")
    assert kills.total == KILLS
    assert kills.in_the_middle >= KILLS * 3 // 4
    assert freezes.taken_over == len(FREEZES)
    assert freezes.refused >= 1
