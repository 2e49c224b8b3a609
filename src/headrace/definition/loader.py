"""A config directory becomes definitions, or every fault in it at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from headrace.definition.definitions import Definitions
from headrace.definition.models import App, Customer, DataSource
from headrace.definition.parsing import KINDS, parse
from headrace.definition.property_graph import model_faults
from headrace.definition.reading import Bodies, Written, read
from headrace.definition.references import reference_faults
from headrace.definition.relation import relation_faults
from headrace.definition.routing_rules import (
    customer_binding_faults,
    data_source_faults,
    unroutable_faults,
    url_faults,
)
from headrace.definition.source_rules import (
    app_customer_faults,
    apps_type,
    customer_faults,
    filter_faults,
    listen_faults,
)
from headrace.definition.webhook import webhook_faults
from headrace.domain.vocabulary import AppId, DataSourceId, ModelId, SourceId
from headrace.errors import ConfigurationError, Fault


def load(directory: Path, environ: Mapping[str, str]) -> Definitions:
    """The definitions of a directory; secrets are looked for in `environ`, and left unresolved.

    Raises:
        ConfigurationError: carries every fault of every file, ordered by file and path.
    """
    return _checked(read(directory), environ)


def from_bodies(
    bodies: Mapping[str, Mapping[str, Mapping[str, Any]]], directory: str = "config"
) -> Definitions:
    """Definitions of bodies that `load` accepted before (`Definitions.bodies`); secrets are not looked for.

    Raises:
        ConfigurationError: another version of Headrace wrote them.
    """
    complete: Bodies = {k: {i: dict(b) for i, b in bodies.get(k, {}).items()} for k in KINDS}
    return _checked(Written(directory, complete), None)


def _checked(written: Written, environ: Mapping[str, str] | None) -> Definitions:
    faults = list(written.faults)
    definitions = _parsed(written, faults)
    if any(written.ids(kind) for kind in KINDS) or not faults:
        faults += _rules(written, definitions, environ)
    if faults:
        unique = dict.fromkeys(faults)
        raise ConfigurationError(*sorted(unique, key=lambda f: (f.file, f.path)))
    return definitions


def _parsed(written: Written, faults: list[Fault]) -> Definitions:
    """What can be parsed, with what is implied filled in; faults of the rest are added to `faults`."""
    found: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    bodies: Bodies = {kind: {} for kind in KINDS}
    groups = sorted(written.ids("visibility_groups"))
    for kind in KINDS:
        for id_, body in sorted(written.bodies[kind].items()):
            file = written.file(kind, id_)
            definition, wrong = parse(kind, body, file)
            faults += [*wrong, *_group_faults(kind, body, file, groups)]
            if definition is not None:
                implied = _implied(id_, definition, groups)
                found[kind][id_] = definition.model_copy(update=implied)
                bodies[kind][id_] = _completed(body, implied)
    return Definitions(
        directory=written.directory,
        bodies=bodies,
        apps={AppId(i): d for i, d in found["apps"].items()},
        schemas=found["schemas"],
        visibility_groups=found["visibility_groups"],
        data_sources={DataSourceId(i): d for i, d in found["data_sources"].items()},
        customers=found["customers"],
        models={ModelId(i): d for i, d in found["models"].items()},
        sources={SourceId(i): d for i, d in found["sources"].items()},
        webhooks=found["webhooks"],
    )


def _implied(id_: str, definition: BaseModel, groups: list[str]) -> dict[str, Any]:
    """Fields that the definition leaves out and that only one value can have."""
    implied: dict[str, Any] = {}
    if isinstance(definition, App | Customer) and not definition.visibility_group:
        implied["visibility_group"] = groups[0] if len(groups) == 1 else ""
    if isinstance(definition, DataSource) and not definition.visibility_groups:
        implied["visibility_groups"] = tuple(groups) if len(groups) == 1 else ()
    if isinstance(definition, Customer | DataSource) and not definition.provided_id:
        implied["provided_id"] = id_
    return implied


def _completed(body: Mapping[str, Any], implied: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in implied.items()}
    return {key: value for key, value in body.items() if key != "$schema"} | plain


def _group_faults(kind: str, body: Mapping[str, Any], file: str, groups: list[str]) -> Iterator[Fault]:
    key = {"apps": "visibility_group", "customers": "visibility_group", "data_sources": "visibility_groups"}
    if kind in key and not body.get(key[kind]) and len(groups) > 1:
        message = f"is missing; there are several: say which, {' or '.join(groups)}"
        yield Fault(file, key[kind], message)


def _rules(written: Written, definitions: Definitions, environ: Mapping[str, str] | None) -> Iterator[Fault]:
    if not written.ids("visibility_groups"):
        file = f"{written.directory}/visibility_groups/production.json"
        yield Fault(
            file, "", 'is missing: there must be a visibility group; add it with {"name": "Production"}'
        )
    yield from reference_faults(written)
    for id_, body in sorted(written.bodies["sources"].items()):
        app_type = apps_type(written.bodies["apps"], body)
        yield from relation_faults(written.file("sources", id_), body, app_type)
    for source_id, source in sorted(definitions.sources.items()):
        yield from filter_faults(definitions.file("sources", source_id), source)
        yield from customer_faults(definitions, source_id)
        yield from listen_faults(definitions, source_id)
    yield from model_faults(written, dict(definitions.sources.items()))
    yield from app_customer_faults(definitions)
    yield from data_source_faults(definitions)
    yield from customer_binding_faults(definitions)
    if environ is not None:
        yield from url_faults(definitions, environ)
        for webhook_id, webhook in sorted(definitions.webhooks.items()):
            yield from webhook_faults(definitions.file("webhooks", webhook_id), webhook, environ)
    if _all_parsed(written, definitions):
        yield from unroutable_faults(definitions)


def _all_parsed(written: Written, definitions: Definitions) -> bool:
    """Where rows lead can be said only when nothing that could lead them is broken."""
    return (
        bool(definitions.visibility_groups)
        and all(app.visibility_group for app in definitions.apps.values())
        and all(customer.visibility_group for customer in definitions.customers.values())
        and written.ids("visibility_groups") == definitions.visibility_groups.keys()
        and written.ids("data_sources") == definitions.data_sources.keys()
        and written.ids("customers") == definitions.customers.keys()
    )
