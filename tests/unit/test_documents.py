"""What the guides list is what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from headrace.cli.app import app
from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import Aggregation, FilterOp
from headrace.settings import PREFIX, Settings
from headrace.web import health, hooks
from headrace.web.app import ROUTERS
from headrace.web.problem import STATUS

ROOT = Path(__file__).parents[2]


def test_the_reference_is_what_the_models_say() -> None:
    check = [sys.executable, "docs/make_reference.py", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_other_setting_is_told_of_than_there_is() -> None:
    told = {
        name
        for page in (ROOT / "docs").rglob("*.md")
        for name in re.findall(rf"`{PREFIX}(?!TEST_)([A-Z_]+)[`=]", page.read_text())
    }
    assert told == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("words", [Aggregation, FilterOp])
def test_every_word_of_a_vocabulary_is_explained(words: type[Aggregation]) -> None:
    documented = set(re.findall(r"[a-z_]+", (ROOT / "docs" / "configuration.md").read_text()))
    assert {word.value for word in words} <= documented


def test_every_command_is_documented_and_no_other() -> None:
    documented = set(re.findall(r"`headrace ([a-z][a-z-]*)", (ROOT / "docs" / "cli.md").read_text()))
    whole = app()
    commands = {c.name or c.callback.__name__ for c in whole.registered_commands if c.callback}
    assert documented == commands | {group.name for group in whole.registered_groups}


def test_every_operation_of_the_api_is_documented_and_no_other() -> None:
    documented = re.findall(r"`([A-Z]+ /[^`? ]+)`", (ROOT / "docs" / "http-api.md").read_text())
    operations = {
        f"{method} {route.path.replace(':path', '')}"
        for router in (*ROUTERS, hooks.router, health.router, health.metrics_router)
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert set(documented) == operations


def test_every_code_of_a_problem_is_documented_with_its_status() -> None:
    lines = re.findall(r"^\| `(\w+)` \| (\d+) \|", (ROOT / "docs" / "http-api.md").read_text(), re.MULTILINE)
    assert {code: int(status) for code, status in lines} == {code.value: STATUS[code] for code in Refusal}
    assert len(lines) == len(Refusal)


@pytest.mark.parametrize(
    "document",
    [*ROOT.glob("*.md"), *(p for p in (ROOT / "docs").rglob("*.md"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_link_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text())
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing
