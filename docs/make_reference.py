"""Makes docs/definitions.md and docs/settings.md of the models, and the list of docs/errors of its pages:
`python docs/make_reference.py`.

With `--check` it writes nothing, and fails where a page is not what the models say.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from headrace.cli import error_page
from headrace.definition.models import App, Customer, DataSource, Model, Schema, VisibilityGroup
from headrace.definition.parsing import CLASSES, KINDS
from headrace.definition.property import AnyOf, Clause, PrimaryProperty, SecondaryProperty
from headrace.definition.schedule import DeletedColumn, Schedule, SkewClock
from headrace.definition.source import CustomerColumn, CustomerValue, PrimarySource, SecondarySource
from headrace.definition.values import ID_PATTERN
from headrace.definition.webhook import Webhook
from headrace.settings import PREFIX, Settings

DOCS: Final = Path(__file__).resolve().parent

TITLES: Final[dict[type[BaseModel], str]] = {
    App: "apps",
    Schema: "schemas",
    VisibilityGroup: "visibility_groups",
    DataSource: "data_sources",
    Customer: "customers",
    Model: "models",
    Webhook: "webhooks",
    PrimarySource: "A primary source",
    SecondarySource: "A secondary source",
    Schedule: "schedule",
    SkewClock: "clock with a skew",
    DeletedColumn: "column of deletes",
    CustomerValue: "customer of all rows",
    CustomerColumn: "customer by column",
    PrimaryProperty: "property of a primary source",
    SecondaryProperty: "property of a secondary source",
    Clause: "filter",
    AnyOf: "one of several filters",
}
OBJECTS: Final = (
    Schedule,
    SkewClock,
    DeletedColumn,
    CustomerValue,
    CustomerColumn,
    PrimaryProperty,
    SecondaryProperty,
    Clause,
    AnyOf,
)
"""What stands below the keys of a source."""

DEFINITIONS: Final = """\
# Keys of definitions

Every key of every file in `config/`, made from the models that check them; [configuration](configuration.md)
says what they are for. Besides these each file may have `"$schema": "../.schema/<kind>.json"`, by which
editors check and complete it. An *id* is a small letter, then up to 39 small letters, digits and `_`; a
*duration* an integer and `ms`, `s`, `m`, `h` or `d`: `"30s"`.
"""
SETTINGS: Final = """\
# Settings

From the environment of each process and command; an empty variable counts as not set. Where one is wrong,
nothing starts: all faults are told at once, with exit code 2. Seconds are numbers (`0.25`). Made from
`headrace.settings`.

| variable | default | means |
| --- | --- | --- |
"""
ERRORS: Final = """\
# Error codes

Every error, finding, rejected row and refused request has a code: in brackets behind what a command tells
(`… [source_login_refused]`), as `code` or `error_code` in JSON and logs, and as `code` of the problems of the
[HTTP API](../http-api.md). Codes are stable: programs may decide by them, and the words around them may
change. `headrace explain-error CODE` shows these pages on the terminal.

```{toctree}
:glob:
:hidden:
*
```

| code | |
| --- | --- |
"""


def main() -> int:
    """All pages are what the models say; 1: with `--check`, one was not."""
    stale = [name for name, text in pages().items() if (DOCS / name).read_text() != text]
    if "--check" not in sys.argv[1:]:
        for name in stale:
            (DOCS / name).write_text(pages()[name])
        return 0
    for name in stale:
        sys.stderr.write(
            f"docs/{name} is not what the models say: run {sys.executable} docs/make_reference.py\n"
        )
    return 1 if stale else 0


def pages() -> dict[str, str]:
    """The text of each page that is made."""
    return {
        "definitions.md": definitions_page(),
        "settings.md": settings_page(),
        "errors/index.md": errors_page(),
    }


# --- definitions --------------------------------------------------------------------------------------


def definitions_page() -> str:
    kinds = (f"## {kind}\n\n{_described(CLASSES[kind])}" for kind in KINDS if kind in CLASSES)
    return "\n".join((DEFINITIONS, *kinds, _sources()))


def _sources() -> str:
    primary, secondary = (m.model_json_schema()["properties"] for m in (PrimarySource, SecondarySource))
    parts = [
        "## sources\n\nHow rows of one table or query feed a model. Keys of every source:\n",
        _table(PrimarySource, [key for key, said in primary.items() if said == secondary.get(key)]),
    ]
    for model, names in (
        (PrimarySource, ["primary", "properties"]),
        (SecondarySource, ["mapping", "properties"]),
    ):
        parts.append(f"### {TITLES[model]}\n\n{_described(model, names)}")
    parts += [f"### {TITLES[model]}\n\n{_described(model)}" for model in OBJECTS]
    return "\n".join(parts)


def _described(model: type[BaseModel], names: list[str] | None = None) -> str:
    first_line = inspect.cleandoc(model.__doc__ or "").partition("\n")[0]
    return f"{_markdown(first_line)}\n\n{_table(model, names)}"


def _table(model: type[BaseModel], names: list[str] | None = None) -> str:
    schema = model.model_json_schema(by_alias=True)
    rows = [
        _row(key, said, required=key in schema.get("required", ()))
        for key, said in schema["properties"].items()
        if key != "$schema" and (names is None or key in names)
    ]
    return "| key | type | default | means |\n| --- | --- | --- | --- |\n" + "".join(rows)


def _row(key: str, said: Mapping[str, Any], *, required: bool) -> str:
    default = "required" if required else _default(said)
    return f"| `{key}` | {_type(said)} | {default} | {_markdown(said['description'])} |\n"


def _default(said: Mapping[str, Any]) -> str:
    value = said.get("default")
    if value is None or isinstance(value, dict):
        return ""
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(said: Mapping[str, Any]) -> str:
    """What a value may be, in words; objects are links to where their keys are."""
    if "$ref" in said:
        return _named(said["$ref"].rpartition("/")[2])
    if choices := said.get("anyOf") or said.get("oneOf"):
        words = dict.fromkeys(_type(choice) for choice in choices)
        return " or ".join(word for word in words if word)
    if "const" in said:
        return f"`{str(said['const']).lower()}`" if said["const"] != "" else ""
    if "enum" in said:
        return _words(said["enum"])
    if said.get("type") == "array":
        return f"list of: {_type(said['items'])}"
    if said.get("type") == "object":
        values = said.get("additionalProperties") or next(iter(said["patternProperties"].values()))
        return f"by name: {_type(values)}"
    if said.get("type") == "string":
        return _text(said.get("pattern", ""))
    return {"null": "", None: "any"}.get(said.get("type"), said.get("type", ""))


def _text(pattern: str) -> str:
    if pattern == f"^{ID_PATTERN}$":
        return "id"
    return "duration" if pattern.endswith("(ms|s|m|h|d)$") else "text"


def _words(words: list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _named(name: str) -> str:
    for model, title in TITLES.items():
        if model.__name__ == name:
            return f"[{title}](#{re.sub(r'[^a-z_ -]', '', title.lower()).replace(' ', '-')})"
    return _words(list(_enums()[name]))


def _enums() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for model in TITLES:
        for name, said in model.model_json_schema().get("$defs", {}).items():
            if "enum" in said:
                found[name] = said["enum"]
    return found


def _markdown(text: str) -> str:
    """A description as a cell shows it, nothing of it taken for marks."""
    return re.sub(r"([<|*])", r"\\\1", text)


# --- settings -----------------------------------------------------------------------------------------


def settings_page() -> str:
    meanings = dict(_meanings(Settings))
    rows = (
        f"| `{PREFIX}{name.upper()}` | {_setting(name, field.default)} | {meanings[name]} |\n"
        for name, field in Settings.model_fields.items()
    )
    return SETTINGS + "".join(rows)


def _setting(name: str, default: Any) -> str:
    if default is None or default == ():
        return "none"
    return f"`{default:{'.12g' if name.endswith('_s') else ''}}`"


def _meanings(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """What is said behind each field. Errors: `ValueError` names one of which nothing is said."""
    (written,) = (each for each in ast.parse(inspect.getsource(model)).body if isinstance(each, ast.ClassDef))
    for field, after in zip(written.body, [*written.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            said = after.value if isinstance(after, ast.Expr) else None
            if not isinstance(said, ast.Constant) or not isinstance(said.value, str):
                raise ValueError(f"say behind {model.__name__}.{field.target.id} what it means")
            yield field.target.id, _markdown(" ".join(said.value.split()))


# --- errors -------------------------------------------------------------------------------------------


def errors_page() -> str:
    rows = (f"| [`{code}`]({code}.md) | {_first_words(code)} |\n" for code in error_page.codes())
    return ERRORS + "".join(rows)


def _first_words(code: str) -> str:
    return " ".join(error_page.page(code).what.split()).replace("|", r"\|")


if __name__ == "__main__":
    sys.exit(main())
