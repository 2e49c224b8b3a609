"""The processes of the Procfile over RabbitMQ, each on its own, killed while their source changes."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from tests.acceptance.campaign import Kills
from tests.acceptance.project import Project
from tests.acceptance.survival import survive

pytestmark = pytest.mark.services


@pytest.fixture
def rabbitmq_vhost(rabbitmq_server: str) -> Iterator[str]:
    """The URL of a virtual host of its own, or of the given one where none can be made from here."""
    name = f"headrace_test_{uuid.uuid4().hex[:12]}"
    control = shutil.which("rabbitmqctl")
    if control is None or subprocess.run([control, "add_vhost", name], capture_output=True).returncode:
        yield rabbitmq_server
        return
    user = rabbitmq_server.split("//")[1].split(":")[0]
    subprocess.run([control, "set_permissions", "-p", name, user, ".*", ".*", ".*"], check=True)
    yield f"{rabbitmq_server.rstrip('/')}/{name}"
    subprocess.run([control, "delete_vhost", name], check=True, capture_output=True)


def test_killed_workers_lose_and_double_nothing_over_rabbitmq(renters: Project, rabbitmq_vhost: str) -> None:
    namespace = f"headrace_test_{uuid.uuid4().hex[:12]}"
    renters.environment |= {"HEADRACE_BROKER_URL": rabbitmq_vhost, "HEADRACE_QUEUE_NAMESPACE": namespace}
    renters.warm = False  # as the Procfile starts them
    counts = Kills()
    survive(renters, seed=6, trouble=lambda fleet, control: counts.kill_in_turn(fleet, control, kills=6))
    print(counts)
    assert counts.total == 6
    assert counts.in_the_middle >= 4
