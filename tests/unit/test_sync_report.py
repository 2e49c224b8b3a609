"""A sync fails for what it was asked to do, not for what else waits."""

from __future__ import annotations

import pytest

from headrace.domain.vocabulary import AppId, DataSourceId, FeedId, ModelId, SourceId
from headrace.steps.merge_report import MergeReport, MergeState, blocked
from workers.sync import FeedResult, SyncReport

USERS, ACCOUNTS = ModelId("users"), ModelId("accounts")
PURCHASES = SourceId("purchases")


def report(model: ModelId, merge: MergeReport, *, error: str | None = None) -> SyncReport:
    feed = FeedResult(feed_id=FeedId("f"), source_id=PURCHASES, app_id=AppId("shop"), error=error)
    merges = {(DataSourceId("main"), model): merge}
    return SyncReport(feeds=(feed,), merges=merges, models=frozenset({USERS}))


DRAINED = MergeReport(state=MergeState.DRAINED)
UNREACHABLE = MergeReport(state=MergeState.BLOCKED, errors=("no connection",))


@pytest.mark.parametrize(
    ("told", "fails"),
    [
        (report(USERS, DRAINED), False),
        (report(USERS, DRAINED, error="gone"), True),
        (report(USERS, blocked(PURCHASES, "bad row")), True),
        (report(USERS, blocked(SourceId("users"), "bad row")), False),
        (report(USERS, blocked(SourceId("users"), "bad row").beside(blocked(PURCHASES, "x"))), True),
        (report(USERS, UNREACHABLE), True),
        (report(ACCOUNTS, UNREACHABLE), False),
        (report(USERS, blocked(PURCHASES, "bad row").then(DRAINED)), False),
    ],
)
def test_a_sync_fails_when_something_of_its_own_sources_waits(told: SyncReport, fails: bool) -> None:
    assert told.failed is fails
