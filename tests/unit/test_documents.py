"""What the guides list is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel

from headrace.cli.app import app
from headrace.definition.parsing import CLASSES
from headrace.definition.source import PrimarySource, SecondarySource
from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import Aggregation, FilterOp, PropertyType
from headrace.settings import PREFIX, Settings
from headrace.web import health
from headrace.web.app import ROUTERS
from headrace.web.problem import STATUS

ROOT = Path(__file__).parents[2]


def keys_of(model: type[BaseModel]) -> set[str]:
    """Every key that a body may have, those of the objects in it too."""
    schema = model.model_json_schema(by_alias=True)
    bodies = [schema, *schema.get("$defs", {}).values()]
    return {key for body in bodies for key in body.get("properties", {})} - {"$schema"}


@pytest.mark.parametrize("model", [*CLASSES.values(), PrimarySource, SecondarySource])
def test_every_key_of_a_definition_is_documented(model: type[BaseModel]) -> None:
    words = set(re.findall(r"[a-z_]+", (ROOT / "docs" / "configuration.md").read_text()))
    assert keys_of(model) <= words


@pytest.mark.parametrize("words", [Aggregation, FilterOp, PropertyType])
def test_every_word_of_a_vocabulary_is_documented(words: type[Aggregation]) -> None:
    documented = set(re.findall(r"[a-z_]+", (ROOT / "docs" / "configuration.md").read_text()))
    assert {word.value for word in words} <= documented


def test_every_setting_is_documented() -> None:
    documented = set(re.findall(rf"{PREFIX}([A-Z_]+)", (ROOT / "docs" / "cli.md").read_text()))
    assert documented == {name.upper() for name in Settings.model_fields}


def test_every_documented_default_is_the_one_that_holds() -> None:
    lines = re.findall(
        rf"^\| (`{PREFIX}.*?) \| (.*?) \|", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE
    )
    defaults = {
        name.lower(): value
        for names, values in lines
        for name, value in zip(
            re.findall(rf"{PREFIX}([A-Z_]+)", names), re.findall("`(.*?)`", values), strict=False
        )
    }
    assert len(defaults) > 15
    assert defaults == {
        name: f"{Settings.model_fields[name].default:{'.12g' if name.endswith('_s') else ''}}"
        for name in defaults
    }


def test_every_command_is_documented_and_no_other() -> None:
    documented = set(re.findall(r"`headrace ([a-z][a-z-]*)", (ROOT / "docs" / "cli.md").read_text()))
    commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    assert documented == commands | {group.name for group in app.registered_groups}


def test_every_operation_of_the_api_is_documented_and_no_other() -> None:
    documented = re.findall(r"`([A-Z]+ /[^`? ]+)`", (ROOT / "docs" / "http-api.md").read_text())
    operations = {
        f"{method} {route.path.replace(':path', '')}"
        for router in (*ROUTERS, health.router, health.metrics_router)
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
