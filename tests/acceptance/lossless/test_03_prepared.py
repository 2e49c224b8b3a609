"""Acceptance 3: PREPARE, source restart, COMMIT PREPARED later."""

from __future__ import annotations

from tests.acceptance.lossless import scenarios
from tests.acceptance.lossless.conftest import MakeThings
from tests.acceptance.lossless.databases import PostgresDatabase
from tests.servers import PostgresCluster


def test_a_prepared_transaction_that_outlives_its_server_is_read(
    restartable: PostgresDatabase, cluster: PostgresCluster, read: MakeThings
) -> None:
    scenarios.prepared(restartable, read(restartable), cluster.restart)


def test_a_transaction_prepared_before_the_first_poll_is_read(
    restartable: PostgresDatabase, read: MakeThings
) -> None:
    with restartable.session() as late, restartable.session() as other:
        late.begin()
        late.insert(2, "prepared")
        late.run("PREPARE TRANSACTION 'before all'")
        things = read(restartable)
        scenarios.overtake(other, things, 3)
        things.restart()
        scenarios.overtake(other, things, 4)
        other.run("COMMIT PREPARED 'before all'")
        things.poll()
        assert things.names() == other.names()
