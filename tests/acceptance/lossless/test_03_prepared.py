"""Acceptance 3: PREPARE, source restart, COMMIT PREPARED later."""

from __future__ import annotations

from tests.acceptance.lossless import scenarios
from tests.acceptance.lossless.conftest import MakeThings, Restartable


def test_a_prepared_transaction_that_outlives_its_server_is_read(
    two_phases: Restartable, read: MakeThings
) -> None:
    scenarios.prepared(two_phases.database, read(two_phases.database), two_phases.restart)


def test_a_transaction_prepared_before_the_first_poll_is_read(
    two_phases: Restartable, read: MakeThings
) -> None:
    with two_phases.database.session() as late, two_phases.database.session() as other:
        late.begin_two_phases("before all")
        late.insert(2, "prepared")
        late.prepare("before all")
        late.end()  # MySQL lets nobody else commit what a session has prepared, while it lasts
        things = read(two_phases.database)
        scenarios.overtake(other, things, 3)
        things.restart()
        scenarios.overtake(other, things, 4)
        other.commit_prepared("before all")
        things.poll()
        assert things.names() == other.names()
