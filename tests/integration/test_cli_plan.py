"""What `plan` and `apply` say: what is added, changed and removed, and what is read again and why."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.command import Command, define


def test_a_plan_marks_what_goes_and_what_is_recomputed(headrace: Command, project: Path) -> None:
    source = json.loads(Path("config/sources/refunds.json").read_text())
    del source["properties"]["total_refunded"]
    define("sources/refunds", properties=source["properties"])

    signs = {}
    for line in headrace("plan").out.splitlines():
        sign, _, what = line.partition(" ")
        signs[what.replace("data source main: ", "")] = sign

    assert signs["users: drop column total_refunded"] == "-"
    assert signs["users: recompute the properties of source refunds"] == "~"
    assert signs["sources/refunds  (properties.total_refunded)"] == "~"
