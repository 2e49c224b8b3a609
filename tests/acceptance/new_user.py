"""What the README has a new user type, from `make setup` to `headrace up`."""

from __future__ import annotations

from tests.acceptance.guide import blocks_of
from tests.acceptance.quick_commands import ROOT

README = ROOT / "README.md"
CHECKED_BY = "tests/acceptance/test_new_user.py"


def commands() -> list[str]:
    (block,) = (b for b in blocks_of(README) if b.mark == f"checked by: {CHECKED_BY}")
    return block.text.splitlines()
