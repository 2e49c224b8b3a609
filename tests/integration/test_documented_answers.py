"""The answers and bodies that docs/http-api.md shows are those of the OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.acceptance import guide
from tests.integration.web_site import site_of

PAGE = Path(__file__).parents[2] / "docs" / "http-api.md"
SHOWN = [block for block in guide.blocks_of(PAGE) if block.operations]
LEFT_OUT = re.compile(r"…(?=\s*[,}\]])")
"""Where keys or items are left out; a text that is cut short has its `…` within quotes."""
Document = dict[str, Any]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    with site_of(tmp_path_factory.mktemp("site")) as site:
        return site.api.openapi()


def values_of(text: str) -> Iterator[tuple[Any, bool]]:
    """Each JSON value, without what is left out of it, and whether something is."""
    decoder = json.JSONDecoder()
    while text := text.strip():
        written = LEFT_OUT.sub('"…"', re.sub(r"(?<=[{ ])…(?=[,}])", '"…": "…"', text))
        value, end = decoder.raw_decode(written)
        yield without(value), "…" in re.sub(r'"[^"]*…"(?!: "…")', "", written[:end])
        text = written[end:]


def without(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without(member) for name, member in value.items() if name != "…"}
    return [without(member) for member in value if member != "…"] if isinstance(value, list) else value


def schema_of(document: Document, kind: str, operation: str) -> Any:
    """Of an operation's answer (the first good one, or that of the status behind it) or its body."""
    method, path, *status = operation.split()
    found = document["paths"][path][method.lower()]
    if kind == "body":
        content = found["requestBody"]["content"]
    else:
        good = min(code for code in found["responses"] if code.startswith("2"))
        content = found["responses"][status[0] if status else good]["content"]
    (schema,) = (each["schema"] for each in content.values())
    return schema


def closed(schema: Any, *, complete: bool) -> Any:
    """The schema, by which no unknown member is valid, and a missing one only of what is not complete."""
    if isinstance(schema, list):
        return [closed(each, complete=complete) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(part, complete=complete) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict):
        made["additionalProperties"] = False
        if not complete:
            made.pop("required", None)
    return made


def assert_shows(document: Document, block: guide.Block) -> None:
    values = list(values_of(block.text))
    kind, operations = block.operations
    assert len(operations) in {1, len(values)}
    operations *= len(values) if len(operations) == 1 else 1
    for (value, cut), operation in zip(values, operations, strict=True):
        schema = schema_of(document, kind, operation) | {"components": document["components"]}
        jsonschema.validate(value, closed(schema, complete=not cut), jsonschema.Draft202012Validator)


@pytest.mark.parametrize("block", SHOWN, ids=lambda block: f"line {block.line}")
def test_what_the_page_shows_is_what_the_api_answers(document: Document, block: guide.Block) -> None:
    assert_shows(document, block)


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        ("answer: GET /api/v1/explain-route", '{"customer": "c", "nonsense": 1, …}'),
        ("answer: GET /api/v1/explain-route", '{"customer": 1, …}'),
        ("answer: GET /api/v1/explain-route", '{"customer": "c"}'),
        (
            "answer: GET /api/v1/sources",
            '{"items": [{"id": "users", "feeds": [{"nonsense": 1, …}]}], "next": null}',
        ),
        ("body: POST /api/v1/customers", '{"provided_id": "c", "datasource": "main"}'),
        ("answer: POST /api/v1/customers 409", '{"code": "nonsense", …}'),
    ],
)
def test_another_answer_would_be_noticed(document: Document, mark: str, text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        assert_shows(document, guide.Block(1, "json", mark, text))


def test_every_document_of_json_on_the_page_is_compared() -> None:
    assert len(SHOWN) == len(list(guide.blocks_of(PAGE)))
