"""Does what a definition names exist? Checked on bodies as written, so that a broken file hides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace.definition.definitions import DEFAULT_CUSTOMER
from headrace.definition.reading import Written
from headrace.definition.wording import closest, shown, suggestion
from headrace.errors import Fault

_SINGULAR = {
    "apps": "app",
    "schemas": "schema",
    "visibility_groups": "visibility group",
    "data_sources": "data source",
    "customers": "customer",
    "models": "model",
}
_Reference = tuple[str, str, Any]
"""Path, kind of what is named, and its id as written."""


def reference_faults(written: Written) -> Iterator[Fault]:
    """A fault for each id that leads nowhere. Values of a wrong kind are left to `parse`."""
    finders = {
        "apps": _of_app,
        "data_sources": _of_data_source,
        "customers": _of_customer,
        "models": _of_model,
        "sources": _of_source,
        "webhooks": _of_webhook,
    }
    for kind, find in finders.items():
        for id_, body in sorted(written.bodies[kind].items()):
            for path, target, name in find(body):
                if isinstance(name, str) and not _exists(written, target, name, path=path):
                    yield Fault(written.file(kind, id_), path, _unknown(written, target, name))


def _exists(written: Written, kind: str, name: str, *, path: str) -> bool:
    ids = written.ids(kind)
    if kind == "visibility_groups" and not ids:
        return True  # one fault says that none is declared
    if kind == "customers" and path != "parent":
        # Customers come from rows and the API too: what is like a file's id is taken for that, misspelt.
        return name == DEFAULT_CUSTOMER or name in ids or closest(name, ids) is None
    return name in ids


def _unknown(written: Written, kind: str, name: str) -> str:
    mend = suggestion(name, written.ids(kind))
    return f"no {_SINGULAR[kind]} {shown(name)}{mend or f'; add {written.file(kind, name[:40])}'}"


def _items(body: dict[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    value = body.get(key)
    if isinstance(value, list):
        yield from ((f"{key}[{index}]", item) for index, item in enumerate(value))


def _of_app(body: dict[str, Any]) -> Iterator[_Reference]:
    yield "visibility_group", "visibility_groups", body.get("visibility_group")
    yield "customer", "customers", body.get("customer")


def _of_data_source(body: dict[str, Any]) -> Iterator[_Reference]:
    yield "schema", "schemas", body.get("schema")
    for key in ("visibility_groups", "default_for"):
        yield from ((path, "visibility_groups", name) for path, name in _items(body, key))


def _of_webhook(body: dict[str, Any]) -> Iterator[_Reference]:
    yield from ((path, "data_sources", name) for path, name in _items(body, "data_sources"))


def _of_customer(body: dict[str, Any]) -> Iterator[_Reference]:
    yield "visibility_group", "visibility_groups", body.get("visibility_group")
    parent = body.get("parent")
    yield "parent", "customers", parent
    bound = body.get("data_sources")
    for schema, data_source in bound.items() if isinstance(bound, dict) else ():
        yield f"data_sources.{schema}", "schemas", schema
        yield f"data_sources.{schema}", "data_sources", data_source


def _of_model(body: dict[str, Any]) -> Iterator[_Reference]:
    yield "schema", "schemas", body.get("schema")


def _of_source(body: dict[str, Any]) -> Iterator[_Reference]:
    yield "model", "models", body.get("model")
    yield "app", "apps", body.get("app")
    yield from ((path, "apps", name) for path, name in _items(body, "apps"))
    customer = body.get("customer")
    if isinstance(customer, dict):
        yield "customer.value", "customers", customer.get("value")
