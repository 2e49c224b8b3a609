"""Messages from outside make the processes of the Procfile read, whatever is killed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest

from tests.acceptance.conftest import NewDatabase
from tests.acceptance.procfile import Running
from tests.acceptance.project import Project, execute, query
from tests.acceptance.small_shop import add_user, over_servers, until

pytestmark = pytest.mark.services

WORKERS = {"fetch": "workers.fetch", "merge": "workers.merge"}


@pytest.fixture(params=["redis", "rabbitmq"])
def shop(
    request: pytest.FixtureRequest, new_database: NewDatabase, redis_server: str, tmp_path: Path
) -> Iterator[Project]:
    """A shop that is polled only when asked, with a broker of events."""
    events = request.getfixturevalue(f"{request.param}_server")
    with over_servers(tmp_path / "shop", new_database, redis_server, every="1d") as project:
        project.environment["HEADRACE_EVENTS_URL"] = events
        yield project
        _forget(project)


def _name(project: Project, suffix: str = "") -> str:
    return f"{project.environment['HEADRACE_QUEUE_NAMESPACE']}.headrace.triggers{suffix}"


def _forget(project: Project) -> None:
    with kombu.Connection(project.environment["HEADRACE_EVENTS_URL"]) as connection:
        channel = connection.default_channel
        for suffix in ("", ".dead"):
            channel.queue_delete(_name(project, suffix))
        channel.exchange_delete(_name(project))


def publish(project: Project, *bodies: object) -> None:
    queue = kombu.Queue(_name(project), kombu.Exchange(_name(project)), routing_key=_name(project))
    url = project.environment["HEADRACE_EVENTS_URL"]
    with kombu.Connection(url, transport_options={"confirm_publish": True}) as connection:
        producer = connection.Producer()
        for body in bodies:
            producer.publish(body, exchange=queue.exchange, routing_key=queue.routing_key, declare=[queue])


def emails(project: Project) -> dict[int, str]:
    url = project.environment["STORE_URL"]
    return dict(query(url, "SELECT id, email FROM headrace.users ORDER BY id"))


def test_a_message_makes_a_source_read_and_keys_are_fetched_alone(shop: Project) -> None:
    fleet = Running()
    try:
        for name, module in (WORKERS | {"triggers": "producers.triggers"}).items():
            fleet.start(shop, name, module)
        add_user(shop, 1)
        publish(shop, {"source": "users"})
        until(lambda: emails(shop).keys() == {1}, "the trigger did not make it read")
        # What no poll by cursor can see: a deleted row.
        execute(shop.environment["SHOP_URL"], "DELETE FROM users")
        publish(shop, {"source": "users", "keys": [[1]]})
        until(lambda: emails(shop) == {}, "the deleted key was not fetched")
        publish(shop, {"source": "nobody"}, {"source": "users", "keys": [["x"]]})
        told = "SELECT source_id, outcome, requests FROM trigger_log WHERE outcome = 'rejected' ORDER BY 1"
        until(lambda: len(shop.control(told)) == 2, "what cannot be met is not told of")
        assert shop.control(told) == [("nobody", "rejected", 1), ("users", "rejected", 1)]
        assert {name: p.stop(limit_s=25) for name, p in fleet.processes.items()} == dict.fromkeys(
            fleet.processes, 0
        )
    finally:
        for process in fleet.processes.values():
            process.discard()
