"""The cursors of peers lose rows where Headrace loses none: a short run of `make peers-loss`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.faults.peers_loss.__main__ import exit_code
from tests.faults.peers_loss.database import DIALECTS, Dialect
from tests.faults.peers_loss.harness import NAIVE_LOSES_AT_LEAST, Outcome, measure
from tests.faults.peers_loss.peers import NAIVE

SECONDS = 6.0
DONE = Outcome(
    server="a server",
    seconds=1,
    seed=1,
    rows=100,
    transactions={"late": 10},
    lost={NAIVE: NAIVE_LOSES_AT_LEAST, "Headrace": 0},
    polls={NAIVE: 5, "Headrace": 5},
)


@pytest.mark.services
@pytest.mark.parametrize("dialect", DIALECTS)
def test_headrace_loses_no_row_where_every_peer_loses_some(dialect: Dialect) -> None:
    outcome = measure(dialect, seconds=SECONDS, seed=1)
    print(f"\n{outcome.table()}")
    assert outcome.valid
    assert outcome.ours == 0
    assert all(lost for name, lost in outcome.lost.items() if name != "Headrace"), outcome.lost


def test_a_run_that_the_naive_cursor_survives_is_invalid() -> None:
    kind = replace(DONE, lost={NAIVE: NAIVE_LOSES_AT_LEAST - 1, "Headrace": 0})
    assert exit_code([DONE]) == 0
    assert exit_code([DONE, kind]) == 2


def test_a_row_that_headrace_loses_fails_the_run() -> None:
    assert exit_code([DONE, replace(DONE, lost={NAIVE: 0, "Headrace": 1})]) == 1
