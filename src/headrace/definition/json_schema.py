"""JSON Schemas of every kind, so that editors check and complete definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from headrace.definition.parsing import CLASSES, KINDS
from headrace.definition.source import PrimarySource, SecondarySource


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema of each kind."""
    classes: dict[str, Any] = {**CLASSES, "sources": PrimarySource | SecondarySource}
    made: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        schema = TypeAdapter(classes[kind]).json_schema(by_alias=True)
        title = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"config/{kind}/<id>.json",
        }
        made[kind] = {**schema, **title}
    return made


def write(directory: Path) -> None:
    """`<directory>/<kind>.json` holds the JSON Schema of each kind, whatever it held before."""
    directory.mkdir(parents=True, exist_ok=True)
    for kind, schema in schemas().items():
        (directory / f"{kind}.json").write_text(schema_text(schema), encoding="utf-8")


def schema_text(schema: dict[str, Any]) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
