"""`headrace top`: what it shows, on a terminal and where there is none."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console

from headrace.cli.session import applied
from headrace.cli.top import Frame, drawing
from tests.integration.command import HEADRACE, Command, change, define

SECOND = timedelta(seconds=1)


def drawn(frame: Frame, *, height: int = 30, width: int = 110) -> list[str]:
    console = Console(width=width, height=height, record=True, file=io.StringIO(), highlight=False)
    console.print(drawing(frame, height, width))
    return [line.rstrip() for line in console.export_text().splitlines()]


def taken() -> Frame:
    with applied(None) as app:
        return Frame.taken(app)


def test_without_a_terminal_it_is_shown_once_and_whole(headrace: Command, project: Path) -> None:
    define("sources/users", schedule={"cursor": "updated_at", "clock": "database", "freshness": "1h"})
    assert headrace("sync").code == 0
    headrace("pause", "purchases", "--reason", "being migrated")
    shown = headrace("top")
    assert shown.code == 0
    first, second, _, header, worst, *_ = shown.out.splitlines()
    assert "6 feeds: 1 paused, 5 ok" in first
    assert "0 batches waiting; 0 rejected" in second
    assert header.split()[:4] == ["source", "app", "state", "lag"]
    assert worst.split()[:3] == ["purchases", "shop_db", "paused"]
    assert worst.endswith("being migrated")
    assert shown.out == headrace("top", "--once").out or "journalled" in shown.out
    (main,) = (line for line in shown.out.splitlines() if line.startswith("main") and "users" in line)
    assert float(main.split()[2].removesuffix("/s").replace(",", "")) > 0


def test_what_is_wrong_comes_first_and_says_why(headrace: Command, project: Path) -> None:
    frame = taken()
    users = next(f for f in frame.feeds if f.source_id == "users")
    failing = replace(users, failures=3, last_error="no route to shop\nat all", source_id="broken")
    late = replace(users, source_id="late", last_success_at=frame.at - 90 * SECOND)
    merging = replace(users, source_id="full", pending_batches=7)
    told = replace(
        frame,
        feeds=[*frame.feeds, merging, late, failing],
        freshness={"late": 30 * SECOND},  # type: ignore[dict-item]
    )
    lines = drawn(told)
    sources = [line.split()[0] for line in lines[5:8]]
    assert sources == ["broken", "late", "full"]
    assert lines[5].endswith("no route to shop")
    assert "90s" in lines[6]


def test_of_many_feeds_the_worst_are_shown_that_fit(headrace: Command, project: Path) -> None:
    frame = taken()
    users = frame.feeds[0]
    many = [replace(users, source_id=f"s{n:05}", failures=n % 1000 == 999) for n in range(10_000)]  # type: ignore[arg-type]
    lines = drawn(replace(frame, feeds=many), height=24)
    assert len(lines) <= 24
    assert sum("failing" in line for line in lines[5:]) == 10
    (more,) = (line for line in lines if line.endswith("feeds that are no worse"))
    shown = sum(line.startswith("s0") for line in lines)
    assert more == f"and {10_000 - shown:,} feeds that are no worse"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_long_reason_ends_where_the_terminal_does(headrace: Command, project: Path, width: int) -> None:
    frame = taken()
    told = replace(frame, feeds=[replace(f, failures=1, last_error="x" * 300) for f in frame.feeds])
    lines = drawn(told, width=width)
    assert all(len(line) <= width for line in lines)
    assert sum(line.endswith("x…") for line in lines) == len(frame.feeds)


def test_on_a_terminal_it_follows_until_ctrl_c(headrace: Command, project: Path) -> None:
    ours, theirs = pty.openpty()
    command = [HEADRACE, "top", "--interval", "0.2"]
    watched = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    try:
        shown = _until(ours, b"6 feeds")
        change(
            ".headrace/control.db",
            "UPDATE feed SET failures = 1, last_error = 'no route' WHERE source_id = 'users'",
        )
        shown += _until(ours, b"no route")
        watched.send_signal(signal.SIGINT)
        _until(ours, b"\x1b[?1049l")  # the screen is as it was
        assert watched.wait(timeout=20) == 0
    finally:
        watched.kill()
        _, errors = watched.communicate()
    assert errors == b"", errors.decode()
    assert b"\x1b[?1049h" in shown


def _until(terminal: int, what: bytes) -> bytes:
    shown, deadline = b"", time.monotonic() + 20
    while what not in shown:
        assert time.monotonic() < deadline, shown.decode(errors="replace")
        shown += os.read(terminal, 65536)
    return shown
