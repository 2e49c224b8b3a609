"""The guide of events: its consumer gets what it says."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance import guide
from tests.acceptance.quick_commands import ROOT, installed
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
    consumer = Consumer(redis_server)
    try:
        with on_path(tmp_path) as path:
            guide.assert_does_what_it_says(
                GUIDE,
                tmp_path,
                environment={
                    "PATH": path,
                    "HEADRACE_QUEUE_NAMESPACE": consumer.namespace,
                    "HEADRACE_METRICS_PORT": "0",
                },
                instead={
                    '"headrace.records"': f'"{consumer.namespace}.headrace.records"',
                    '"crm"': f'"{consumer.namespace}.crm"',
                    "redis://127.0.0.1:6379": redis_server,
                },
                programs=("openssl",),
            )
    finally:
        consumer.forget()
