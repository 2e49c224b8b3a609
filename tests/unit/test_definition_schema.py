"""The JSON Schemas in `config/.schema` are fresh, and agree with the loader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from headrace.definition.json_schema import schema_text, schemas, write
from headrace.definition.parsing import KINDS, parse
from tests.unit.definition_project import FILES
from tests.unit.test_definition_faults import CASES, changed

COMMITTED = Path(__file__).parents[2] / "config" / ".schema"


def test_the_committed_schemas_are_fresh(tmp_path: Path) -> None:
    write(tmp_path / "new")
    written = {p.name: p.read_text(encoding="utf-8") for p in (tmp_path / "new").iterdir()}
    assert set(written) == {f"{kind}.json" for kind in KINDS}
    assert {p.name: p.read_text(encoding="utf-8") for p in COMMITTED.iterdir()} == written


@pytest.mark.parametrize("kind", KINDS)
def test_each_schema_is_one_and_explains_its_keys(kind: str) -> None:
    schema = schemas()[kind]
    Draft202012Validator.check_schema(schema)
    objects = [schema, *schema.get("$defs", {}).values()]
    keys = [p for o in objects if o.get("type") == "object" for p in o.get("properties", {}).values()]
    assert keys
    assert all("description" in key for key in keys)
    assert json.loads(schema_text(schema)) == schema


@pytest.mark.parametrize("place", sorted(FILES))
def test_right_definitions_are_right_by_their_schema(place: str) -> None:
    kind = place.partition("/")[0]
    body = {"$schema": f"../.schema/{kind}.json", **FILES[place]}
    assert list(Draft202012Validator(schemas()[kind]).iter_errors(body)) == []
    assert parse(kind, body, place)[1] == []


def test_what_a_schema_refuses_the_loader_refuses_too() -> None:
    """An editor never marks what `validate` takes."""
    checkers = {kind: Draft202012Validator(schema) for kind, schema in schemas().items()}
    refused = 0
    for case in CASES:
        for place, body in changed(case.changes).items():
            kind = place.partition("/")[0]
            if kind in KINDS and isinstance(body, dict) and not checkers[kind].is_valid(body):
                refused += 1
                assert parse(kind, body, place)[1], (case.rule, place)
    assert refused >= 15
