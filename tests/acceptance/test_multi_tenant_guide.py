"""The guide of many customers: its commands do what it says."""

from __future__ import annotations

import os
from pathlib import Path

from tests.acceptance import guide
from tests.acceptance.quick_commands import ROOT, installed
from tests.servers import free_port

GUIDE = ROOT / "docs" / "multi-tenant.md"


def test_each_command_of_the_guide_prints_what_the_guide_says(tmp_path: Path, postgres_database: str) -> None:
    port = str(free_port())
    with installed(tmp_path) as bin_:
        guide.assert_does_what_it_says(
            GUIDE,
            tmp_path,
            environment={"PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "HEADRACE_HTTP_PORT": port},
            instead={
                ":8080": f":{port}",
                "EU_URL=postgresql://postgres@127.0.0.1:5432/eu_records": f"EU_URL={postgres_database}",
            },
            programs=("curl", "perl", "openssl"),
        )
