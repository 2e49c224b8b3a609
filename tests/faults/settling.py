"""The end of a campaign: reconciled, confirmed, and nothing left to be done."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from tests.acceptance.project import Project
from tests.faults import shop
from tests.faults.fleet import Fleet

QUIET_LIMIT_S: Final = 90.0

UNREST: Final = """
SELECT (SELECT count(*) FROM batch WHERE state = 'pending') AS batches,
       (SELECT count(*) FROM key_request) AS keys,
       (SELECT count(*) FROM feed_log l JOIN feed f ON f.id = l.feed_id
         WHERE f.state = 'active' AND l.wants_reconcile) AS logs,
       (SELECT count(*) FROM feed WHERE state = 'active' AND (again OR reconciliation IS NOT NULL
           OR reconcile_wanted IS NOT NULL OR first_stream_done = false)) AS feeds
"""
"""What is still to be done, by the control database."""


def settle(project: Project, fleet: Fleet) -> None:
    """What is paused is resumed, each feed is reconciled and what a breaker held is confirmed, while the
    processes run; then they find nothing more to do."""
    for feed in _status(project):
        if feed["paused_reason"] is not None:
            project.headrace("resume", feed["source"])
    for source in shop.SOURCES:
        project.headrace("reconcile", source)
    for feed in _status(project):
        if feed["held"]:
            project.headrace("reconcile", feed["source"], "--confirm")
    deadline = time.monotonic() + QUIET_LIMIT_S
    while any(unrest := project.control(UNREST)[0]):
        fleet.supervise()
        if time.monotonic() > deadline:
            raise AssertionError(f"not quiet: batches, keys, logs, feeds {unrest}\n{fleet.tails()}")
        time.sleep(0.1)


def _status(project: Project) -> list[dict[str, Any]]:
    feeds: list[dict[str, Any]] = json.loads(project.headrace("status", "--json"))
    return feeds
