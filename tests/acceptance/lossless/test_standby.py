"""A standby cannot show what runs on its primary: bounded, and said so."""

from __future__ import annotations

from tests.acceptance.lossless.conftest import MakeThings
from tests.acceptance.lossless.databases import PostgresDatabase, Session
from tests.acceptance.lossless.things import Things
from tests.integration.waiting import until
from tests.servers import PostgresCluster, postgres_standby

MARGIN_S = 30.0
"""What a bounded feed relies on: transactions of the primary are shorter."""


def follow(things: Things, session: Session) -> None:
    """Polled until the standby has replayed what the primary has."""

    def is_followed() -> bool:
        things.poll()
        return things.names() == session.names()

    until(is_followed)


def test_a_standby_is_bounded_and_reads_what_is_replayed_to_it(
    restartable: PostgresDatabase, cluster: PostgresCluster, read: MakeThings
) -> None:
    with restartable.session() as session, restartable.session() as late:
        session.insert(1, "before the standby was made")
        with postgres_standby(cluster) as standby:
            name = restartable.url.rpartition("/")[2]
            things = read(PostgresDatabase(standby.database_url(name), margin_s=MARGIN_S))
            follow(things, session)
            feed_class, reason = things.feed_class()
            assert feed_class == "bounded"
            assert "standby" in reason
            told = things.project.headrace("validate", "--connect")
            assert "feed things of app shop is bounded: the app is a standby" in told
            late.begin()
            late.insert(2, "late")
            session.insert(3, "overtakes")
            things.poll()
            late.commit()
            follow(things, session)
            session.insert(4, "flows")
            follow(things, session)
