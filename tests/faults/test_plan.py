"""The schedule of faults follows from its seed alone."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.kinds import kinds_of
from tests.faults.plan import KindPlan, planned

KINDS = [kind.plan for kind in kinds_of(disk=True, clock=True)]
THINGS = {kind.name: kind for kind in KINDS}


def test_the_same_seed_gives_the_same_faults_and_another_others() -> None:
    one = planned(KINDS, seed=1, seconds=600, faults=270)
    assert one == planned(KINDS, seed=1, seconds=600, faults=270)
    assert one != planned(KINDS, seed=2, seconds=600, faults=270)


def test_ten_minutes_have_two_hundred_faults_of_every_kind_in_order() -> None:
    faults = planned(KINDS, seed=1, seconds=600, faults=270)
    assert len(faults) >= 200
    assert {fault.kind for fault in faults} == set(THINGS)
    assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)
    assert all(0 <= fault.at_s <= 600 for fault in faults)


def test_no_two_faults_are_on_one_thing_at_once() -> None:
    free_at: dict[str, float] = {}
    for fault in planned(KINDS, seed=3, seconds=60, faults=120):
        thing = THINGS[fault.kind].thing(fault.target)
        assert free_at.get(thing, 0.0) <= fault.at_s, fault
        free_at[thing] = fault.at_s + fault.lasts_s


def test_a_kind_comes_as_often_as_its_weight_says() -> None:
    kinds = [KindPlan(name="often", weight=3, occupies="one"), KindPlan(name="seldom", occupies="other")]
    times = Counter(fault.kind for fault in planned(kinds, seed=1, seconds=4000, faults=200))
    assert times["often"] == pytest.approx(150, abs=3)
    assert times.total() == 200
