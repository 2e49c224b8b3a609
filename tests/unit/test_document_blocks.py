"""Every fenced block of README.md and docs/ says what it is for, and what can be run is run."""

from __future__ import annotations

import importlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.definition.parsing import parse
from tests.acceptance import guide

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [(document, block) for document in DOCUMENTS for block in guide.blocks_of(document)]

NOT_RUN = {
    "needs: Docker": 3,
    "needs: Kubernetes": 1,
    "needs: systemd": 1,
    "needs: a collector": 1,
    "shown": 3,
}
"""How many blocks no test runs or checks, and why. Most are run."""


def purpose(block: guide.Block) -> str:
    """`run`, `definition`, `answer: …`, `body: …`, `checked by: …`, `needs: …` or `shown`; empty: none."""
    if block.runs:
        return "run"
    if block.definition:
        return "definition"
    if block.language == "text" and not block.mark:
        return "shown"
    known = block.mark == "shown" or block.operations or block.mark.startswith(("checked by: ", "needs: "))
    return block.mark if known else ""


def place(document: Path, block: guide.Block) -> str:
    return f"{document.relative_to(ROOT)}:{block.line}"


def guides() -> Iterator[Path]:
    """The documents whose blocks a test of `tests/acceptance` runs."""
    for test in (ROOT / "tests" / "acceptance").glob("test_*guide*.py"):
        module = importlib.import_module(f"tests.acceptance.{test.stem}")
        yield from getattr(module, "GUIDES", None) or (module.GUIDE,)


def test_every_fence_is_of_a_block() -> None:
    for document in DOCUMENTS:
        fences = sum(line.lstrip().startswith("```") for line in document.read_text().splitlines())
        directives = document.read_text().count("```{")
        assert fences == 2 * (len(list(guide.blocks_of(document))) + directives), document


def test_every_block_says_what_it_is_for() -> None:
    assert [place(*each) for each in BLOCKS if not purpose(each[1])] == []


def test_the_blocks_that_nobody_runs_are_counted() -> None:
    purposes = Counter(purpose(block) for _, block in BLOCKS)
    not_run = {
        name: count for name, count in purposes.items() if name == "shown" or name.startswith("needs: ")
    }
    assert not_run == NOT_RUN
    assert purposes["run"] > sum(not_run.values())


def test_contributors_are_told_how_many_blocks_nobody_runs() -> None:
    told = re.findall(r"`(needs: [^`]+|shown)` (\d+)", (ROOT / "CONTRIBUTING.md").read_text())
    assert {name: int(count) for name, count in told} == NOT_RUN


def test_every_document_with_commands_is_run() -> None:
    assert {document for document, block in BLOCKS if block.runs} == set(guides())


@pytest.mark.parametrize(
    ("document", "block"),
    [each for each in BLOCKS if each[1].definition],
    ids=lambda part: getattr(part, "name", ""),
)
def test_every_definition_is_one(document: Path, block: guide.Block) -> None:
    assert parse(str(block.definition), json.loads(block.text), place(document, block))[1] == []


def test_where_a_file_is_written_is_told_to_the_reader() -> None:
    for document, block in BLOCKS:
        if block.file:
            assert f"`{block.file}`" in document.read_text(), place(document, block)


def test_what_a_block_is_checked_by_is_a_test() -> None:
    for document, block in BLOCKS:
        if block.mark.startswith("checked by: "):
            test = ROOT / block.mark.removeprefix("checked by: ")
            assert test.match("test_*.py"), place(document, block)
            assert test.exists(), place(document, block)
