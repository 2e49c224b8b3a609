"""Documents name tests; a name that no longer leads to one is a promise nobody keeps."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = [
    found
    for document in ("guarantees.md", "isolation.md")
    for found in re.findall(
        r"`(tests/[a-z0-9_/]+\.py)(?:::([A-Za-z0-9_]+))?`", (ROOT / "docs" / document).read_text()
    )
]


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)), ids="::".join)
def test_a_guarantee_names_a_test_that_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)} | {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert not name or name in defined, f"{file} has no {name}"


def test_every_guarantee_names_a_test() -> None:
    lines = (ROOT / "docs" / "guarantees.md").read_text().splitlines()
    promises = [
        line for line in lines if line.startswith("| ") and not line.startswith(("| promise", "| ---"))
    ]
    assert len(promises) > 20
    assert [line for line in promises if "`tests/" not in line] == []
