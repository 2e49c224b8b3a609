"""The guide of events: its consumer gets what it says."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.acceptance import guide
from tests.acceptance.quick_commands import ROOT, installed
from tests.conftest import missing
from tests.integration.event_consumer import Consumer

GUIDE = ROOT / "docs" / "events.md"


@contextmanager
def on_path(directory: Path) -> Iterator[str]:
    """`headrace` and `python` are those of this test."""
    with installed(directory) as bin_:
        python = bin_ / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        yield f"{bin_}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.services
def test_each_command_of_the_guide_prints_what_the_guide_says(tmp_path: Path, redis_server: str) -> None:
    if absent := [program for program in ("bash", "openssl") if shutil.which(program) is None]:
        missing("what the guide is run with", f"there is no {', '.join(absent)}")
    consumer = Consumer(redis_server)
    instead = {
        '"headrace.records"': f'"{consumer.namespace}.headrace.records"',
        '"crm"': f'"{consumer.namespace}.crm"',
        "redis://127.0.0.1:6379": redis_server,
    }
    name = re.compile("|".join(map(re.escape, instead)))
    steps = [
        replace(step, command=name.sub(lambda found: instead[found[0]], step.command))
        for step in guide.steps_of(GUIDE)
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
    given = {"HEADRACE_QUEUE_NAMESPACE": consumer.namespace, "HEADRACE_METRICS_PORT": "0"}
    try:
        with on_path(tmp_path) as path:
            printed = guide.run(steps, tmp_path, environment | given | {"PATH": path})
    finally:
        consumer.forget()
    assert len(printed) == len(steps), printed[-1:]
    wrong = [guide.differs(*each) for each in zip(steps, printed, strict=True)]
    assert not any(wrong), "\n\n".join(filter(None, wrong))
