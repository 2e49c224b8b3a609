"""What is in the way is told once, with what to look at."""

from __future__ import annotations

import pytest

from headrace.cli.problem import tell_failures, with_mend
from headrace.domain.vocabulary import AppId, DataSourceId, FeedId, ModelId, SourceId
from headrace.errors import Fault
from headrace.steps.merge_report import MergeReport, MergeState
from workers.sync import FeedResult, SyncReport

REFUSED = "connection refused"


@pytest.mark.parametrize(
    ("message", "mend"),
    [
        ("connection failed: Connection refused", "; is it running, and are host and port right?"),
        ("failed to resolve host 'x': Name or service not known", "; is the host's name right"),
        ("connection timeout expired", "; does a firewall let this machine through?"),
        ("Connection refused Is the server running on that host?", ""),
        ("there is no table users", ""),
    ],
)
def test_a_message_of_a_driver_says_what_to_look_at(message: str, mend: str) -> None:
    assert with_mend(message).startswith(message + mend)
    assert bool(mend) is (with_mend(message) != message)


def report() -> SyncReport:
    """Two sources whose app is away, and a data source of two models that is."""
    feeds = tuple(
        FeedResult(feed_id=FeedId(s), source_id=SourceId(s), app_id=AppId("shop"), error=f"shop: {REFUSED}")
        for s in ("purchases", "refunds")
    )
    away = MergeReport(state=MergeState.BLOCKED, errors=("main is away",))
    merges = {(DataSourceId("main"), ModelId(m)): away for m in ("users", "accounts")}
    return SyncReport(feeds=feeds, merges=merges, models=frozenset())


def test_what_several_sources_and_models_wait_for_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    tell_failures(report())
    assert capsys.readouterr().err.splitlines() == [
        "purchases, refunds: app shop: connection refused; is it running, and are host and port right?",
        "data source main: main is away",
    ]


def test_what_was_told_already_is_not_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    tell_failures(report(), told=[Fault("config/apps/shop.json", "", f"cannot be reached: {REFUSED}; start")])
    assert capsys.readouterr().err == "data source main: main is away\n"


def test_a_data_source_that_its_error_names_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    away = MergeReport(state=MergeState.BLOCKED, errors=("PostgreSQL data source main: it is away",))
    merges = {(DataSourceId("main"), ModelId("users")): away}
    tell_failures(SyncReport(feeds=(), merges=merges, models=frozenset()))
    assert capsys.readouterr().err == "PostgreSQL data source main: it is away\n"
