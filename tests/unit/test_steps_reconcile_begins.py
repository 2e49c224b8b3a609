"""When a visit begins a reconciliation, and when it goes on with the one under way."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headrace.domain.vocabulary import AppId, FeedId, LeaseId, SourceId
from headrace.ports import ClaimedFeed, FeedState, Lease, Reconciliation
from headrace.steps.reconcile import begins


@pytest.mark.parametrize(
    ("asked", "under_way", "expected"),
    [
        (None, None, False),
        ("keys", None, True),
        ("full", None, True),
        ("keys", "keys", False),
        ("full", "full", False),
        ("full", "keys", True),
        ("keys", "full", False),
    ],
)
def test_a_full_reconciliation_under_way_is_also_the_one_of_keys(
    asked: str | None, under_way: str | None, *, expected: bool
) -> None:
    going = None if under_way is None else Reconciliation(id="r", full=under_way == "full", after=("5",))
    claimed = ClaimedFeed(
        lease=Lease(FeedId("f"), 1, LeaseId("l")),
        source_id=SourceId("users"),
        app_id=AppId("app"),
        state=FeedState(reconciliation=going),
        reconcile=asked,
        reconcile_into=(),
        confirm=False,
        fingerprint="",
        definition_version=1,
        claimed_at=datetime(2026, 1, 1, tzinfo=UTC),
        every_s=60.0,
        cron=None,
        has_requests=False,
        has_open_rejected=False,
        has_pending=False,
    )
    assert begins(claimed) is expected
