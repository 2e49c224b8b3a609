"""Commands beside running workers, and feeds that somebody paused: what is told is what came of it."""

from __future__ import annotations

import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from headrace import settings, wiring
from headrace.control.runs import Run
from headrace.domain.vocabulary import FeedId
from headrace.metrics import REGISTRY
from headrace.steps.fetch import PollReport
from headrace.wiring import Application
from tests.integration.command import HEADRACE, Command, change, define


def feed_of(app: Application, source: str) -> FeedId:
    return next(f.feed_id for f in app.status.feed_status() if f.source_id == source)


def latest(source: str) -> Run:
    with wiring.build(settings.load(), process="test") as app:
        return app.runs.runs(limit=1, source_id=source)[0]


@pytest.fixture
def worker_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A running worker always comes first: it polls and merges whatever a command is about to poll."""
    own = Application.poll

    def poll(self: Application, feed_id: FeedId, *args: str, **kwargs: str) -> PollReport:
        if self.process == "cli":
            with wiring.build(self.settings, process="worker") as worker:
                own(worker, feed_id)
                for target in worker.targets():
                    worker.merge(*target)
        return own(self, feed_id, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Application, "poll", poll)


@pytest.fixture
def worker_reads_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `worker_first`, but nobody has merged yet what it read."""
    own = Application.poll

    def poll(self: Application, feed_id: FeedId, *args: str, **kwargs: str) -> PollReport:
        if self.process == "cli":
            with wiring.build(self.settings, process="worker") as worker:
                own(worker, feed_id)
        return own(self, feed_id, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Application, "poll", poll)


# --- reconcile beside workers -------------------------------------------------------------------


@pytest.mark.usefixtures("worker_first")
def test_reconcile_tells_what_is_held_whoever_merged_it(headrace: Command, project: Path) -> None:
    change("sources/shop.db", "DELETE FROM purchases")
    for arguments in (("reconcile", "purchases"), ("sync", "--source", "purchases")):
        report = headrace(*arguments, "--json").json
        (purchases,) = report["sources"]
        assert purchases["held"] == 4000
        lines = headrace(*arguments).out
        assert "lacks 4,000 rows" in lines


@pytest.mark.usefixtures("worker_first")
def test_reconcile_says_that_workers_did_it(headrace: Command, project: Path) -> None:
    change("sources/shop.db", "DELETE FROM purchases")
    headrace("reconcile", "purchases")

    confirmed = headrace("reconcile", "purchases", "--confirm", "--json").json

    assert confirmed["sources"][0]["held"] == 0
    assert sum(target["merged_by_workers"] for target in confirmed["data_sources"]) > 0
    assert all(record["purchases"] == 0 for record in headrace("records", "users", "--json").json)
    change("sources/shop.db", "DELETE FROM refunds WHERE id < 20")
    lines = headrace("reconcile", "refunds").out
    assert "No record changed" not in lines
    assert "Running workers merged" in lines


@pytest.mark.usefixtures("worker_reads_first")
def test_reconcile_merges_what_workers_have_read(headrace: Command, project: Path) -> None:
    change("sources/shop.db", "DELETE FROM refunds WHERE id < 20")

    report = headrace("reconcile", "refunds", "--json").json

    assert sum(d["updated"] for d in report["data_sources"]) > 0
    assert sum(d["merged_by_workers"] for d in report["data_sources"]) == 0


# --- why a run was begun ------------------------------------------------------------------------


def test_a_run_says_what_it_was_begun_by(headrace: Command, project: Path) -> None:
    def poll_as_a_worker() -> str:
        with wiring.build(settings.load(), process="worker") as worker:
            worker.poll(feed_of(worker, "users"))
        return latest("users").trigger

    assert latest("users").trigger == "sync"
    change("sources/app.db", "UPDATE users SET name = 'a', updated_at = '2031-01-01' WHERE id = 12")
    headrace("trigger", "users")
    change(".headrace/control.db", "UPDATE feed SET next_due = '2099-01-01 00:00:00.000000'")
    assert poll_as_a_worker() == "trigger"
    change("sources/app.db", "UPDATE users SET name = 'b', updated_at = '2031-01-02' WHERE id = 12")
    change(".headrace/control.db", "UPDATE feed SET next_due = '2020-01-01 00:00:00.000000'")
    assert poll_as_a_worker() == "schedule"
    headrace("reconcile", "users")
    assert latest("users").trigger == "reconcile"
    headrace("sync", "--source", "users", "--reconcile")
    assert latest("users").trigger == "reconcile"
    assert {run["trigger"] for run in headrace("runs", "--json").json} <= {
        "sync", "schedule", "trigger", "reconcile",
    }  # fmt: skip


def test_a_run_that_failed_at_once_says_what_it_was_begun_by(headrace: Command, project: Path) -> None:
    before = REGISTRY.get_sample_value(
        "headrace_runs_total", {"source": "purchases", "trigger": "sync", "outcome": "failed"}
    )
    Path("sources/shop.db").rename("sources/elsewhere.db")
    headrace("sync")

    assert (latest("purchases").trigger, latest("purchases").state) == ("sync", "failed")
    after = REGISTRY.get_sample_value(
        "headrace_runs_total", {"source": "purchases", "trigger": "sync", "outcome": "failed"}
    )
    assert after == (before or 0) + 1


# --- paused -------------------------------------------------------------------------------------


def test_nobody_is_promised_a_poll_of_a_paused_source(headrace: Command, project: Path) -> None:
    headrace("pause", "users", "--reason", "lunch")

    for command in ("trigger", "reconcile"):
        ended = headrace(command, "users")
        assert (ended.code, ended.out) == (1, "")
        assert ended.err == "failed: users is paused (lunch): headrace resume users first [source_paused]\n"
    headrace("resume", "users")
    assert headrace("trigger", "users").code == 0


def test_sync_leaves_a_paused_source_and_says_so(headrace: Command, project: Path) -> None:
    headrace("pause", "users", "--reason", "lunch")

    ended = headrace("sync")

    assert ended.code == 0
    assert "users is paused (lunch), so it was not read: headrace resume users" in ended.out
    paused = {feed["source"]: feed["paused"] for feed in headrace("sync", "--json").json["sources"]}
    assert paused == {**dict.fromkeys(paused, None), "users": "lunch"}


def test_sync_fails_for_a_source_that_drift_has_stopped(headrace: Command, project: Path) -> None:
    change("sources/shop.db", "ALTER TABLE refunds RENAME COLUMN amount TO total")
    headrace("sync")

    ended = headrace("sync", "--source", "refunds")

    assert ended.code == 1
    assert headrace("status").out.count('"amount"') == 1
    define("sources/refunds", properties={"refunds": {"type": "integer", "aggregation": "count"}})
    assert headrace("sync", "--source", "refunds").code == 0


# --- headrace up --------------------------------------------------------------------------------


def test_up_says_what_it_follows_and_where_its_metrics_are(project: Path) -> None:
    up = subprocess.Popen([HEADRACE, "up"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert up.stdout is not None
        told = re.fullmatch(
            r"Following 6 sources, until Ctrl-C. Metrics: (http://127.0.0.1:\d+/metrics)\n",
            up.stdout.readline(),
        )
        assert told is not None
        assert "headrace apply" in up.stdout.readline()
        with urllib.request.urlopen(told.group(1)) as metrics:
            assert b"headrace_build_info" in metrics.read()
    finally:
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=30)
    assert up.returncode == 0
