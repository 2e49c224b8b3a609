"""The guide of many customers: its commands do what it says."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

from tests.acceptance import guide
from tests.acceptance.quick_commands import ROOT, installed
from tests.conftest import missing

GUIDE = ROOT / "docs" / "multi-tenant.md"
PROGRAMS = ("bash", "curl", "perl", "openssl")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_each_command_of_the_guide_prints_what_the_guide_says(tmp_path: Path, postgres_database: str) -> None:
    if absent := [program for program in PROGRAMS if shutil.which(program) is None]:
        missing("what the guide is run with", f"there is no {', '.join(absent)}")
    port = str(free_port())
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
    steps = [
        replace(
            step,
            command=step.command.replace(":8080", f":{port}").replace(
                "EU_URL=postgresql://postgres@127.0.0.1:5432/eu_records", f"EU_URL={postgres_database}"
            ),
        )
        for step in guide.steps_of(GUIDE)
    ]
    assert len(steps) > 60
    with installed(tmp_path) as bin_:
        path = f"{bin_}{os.pathsep}{environment['PATH']}"
        printed = guide.run(steps, tmp_path, environment | {"PATH": path, "HEADRACE_HTTP_PORT": port})
    assert len(printed) == len(steps)
    wrong = [guide.differs(*each) for each in zip(steps, printed, strict=True)]
    assert not any(wrong), "\n\n".join(filter(None, wrong))
