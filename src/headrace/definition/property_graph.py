"""Checks of a model as a whole: its primary source, the names of its properties, its mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.definition.cycle import cycles
from headrace.definition.reading import Written
from headrace.definition.source import PrimarySource, SecondarySource, Source
from headrace.definition.wording import shown, suggestion
from headrace.domain.vocabulary import PropertyType
from headrace.errors import Fault


def model_faults(written: Written, sources: Mapping[str, Source]) -> Iterator[Fault]:
    """Faults of every model. `sources` holds those that could be parsed; of the others only what was
    written is known, and nothing is said that they might mend."""
    for model in sorted(written.ids("models")):
        bodies = {i: b for i, b in sorted(written.bodies["sources"].items()) if b.get("model") == model}
        unsure = bool(written.broken["sources"]) or any(
            not isinstance(b.get("model"), str) for b in written.bodies["sources"].values()
        )
        parsed = {i: sources[i] for i in bodies if i in sources}
        if model.startswith("sqlite_"):
            message = "SQLite keeps names that begin with sqlite_ for itself; give the file another name"
            yield Fault(written.file("models", model), "", message)
        yield from _primary_faults(written, model, bodies, unsure)
        yield from _name_faults(written, parsed)
        yield from _mapping_faults(written, model, bodies, parsed, unsure)


def _primary_faults(written: Written, model: str, bodies: Mapping[str, Any], unsure: bool) -> Iterator[Fault]:
    primaries = [i for i, b in bodies.items() if b.get("primary") is True]
    if not primaries and not unsure:
        message = 'has no primary source; add a source with "primary": true for it'
        yield Fault(written.file("models", model), "", message)
    for extra in primaries[1:]:
        message = f'model {model} already has the primary source {primaries[0]}; map this one with "mapping"'
        yield Fault(written.file("sources", extra), "primary", message)


def implied_key_columns(source: PrimarySource) -> list[str]:
    """Key columns without a property: each gets one, named after it."""
    fed = {p.column for p in source.properties.values()}
    return [column for column in source.key if column not in fed]


def property_names(source: Source) -> list[tuple[str, str]]:
    """(path in the file, name) of each property that a source feeds."""
    names = [(f"properties.{name}", name) for name in source.properties]
    if isinstance(source, PrimarySource):
        implied = implied_key_columns(source)
        names += [(f"key[{i}]", c) for i, c in enumerate(source.key) if c in implied]
    return names


def _name_faults(written: Written, parsed: Mapping[str, Source]) -> Iterator[Fault]:
    seen: dict[str, tuple[str, str, str]] = {}
    for id_, source in sorted(parsed.items(), key=lambda s: (not isinstance(s[1], PrimarySource), s[0])):
        file = written.file("sources", id_)
        for path, name in property_names(source):
            if path.startswith("key"):
                yield from _implied_name_fault(file, path, name)
            other = seen.setdefault(name.casefold(), (id_, path, name))
            if other != (id_, path, name):
                yield Fault(file, path, _collision(id_, name, other_id=other[0], other=other[2]))


def _implied_name_fault(file: str, path: str, name: str) -> Iterator[Fault]:
    if name.startswith("_"):
        message = f'the key column "{name}" has no property, and its own name is reserved'
        yield Fault(file, path, f"{message}; add a property with this column")


def _collision(id_: str, name: str, *, other_id: str, other: str) -> str:
    where = "this source" if other_id == id_ else f"source {other_id}"
    if other == name:
        return f'{where} already feeds a property "{name}"; give one another name'
    return f'"{name}" differs from "{other}" of {where} in case only; give one another name'


def _mapping_faults(
    written: Written,
    model: str,
    bodies: Mapping[str, dict[str, Any]],
    parsed: Mapping[str, Source],
    unsure: bool,
) -> Iterator[Fault]:
    feeders = _feeders(bodies, parsed)
    unsure = unsure or any(b.get("primary") is True and i not in parsed for i, b in bodies.items())
    edges: dict[str, str] = {}
    for id_, source in parsed.items():
        if not isinstance(source, SecondarySource):
            continue
        path = f"mapping.{source.mapping_column}"
        file, name = written.file("sources", id_), source.mapped_property
        if name in source.properties:
            yield Fault(file, path, f'"{name}" is fed by this source itself; map to one of another source')
        elif name in feeders:
            edges[id_] = feeders[name]
            if _type_of(parsed.get(feeders[name]), name) is PropertyType.JSON:
                yield Fault(
                    file, path, f'"{name}" is json, which cannot be compared; map to another property'
                )
        elif not unsure:
            others = set(feeders) - set(source.properties)
            yield Fault(file, path, f"model {model} has no property {shown(name)}{suggestion(name, others)}")
    yield from _cycle_faults(written, parsed, edges)


def _feeders(bodies: Mapping[str, dict[str, Any]], parsed: Mapping[str, Source]) -> dict[str, str]:
    """The source that feeds each property, by the property's name."""
    feeders: dict[str, str] = {}
    for id_, body in bodies.items():
        written = body.get("properties")
        names = [n for _, n in property_names(parsed[id_])] if id_ in parsed else list(written or ())
        feeders.update(dict.fromkeys(names, id_))
    return feeders


def _type_of(source: Source | None, name: str) -> PropertyType | None:
    found = source.properties.get(name) if source else None
    return found.type if found else None


def _cycle_faults(
    written: Written, parsed: Mapping[str, Source], edges: Mapping[str, str]
) -> Iterator[Fault]:
    for cycle in cycles(edges):
        source = parsed[cycle[0]]
        column = source.mapping_column if isinstance(source, SecondarySource) else ""
        message = f"mappings go round in a circle: {' -> '.join(cycle)}"
        file = written.file("sources", cycle[0])
        yield Fault(file, f"mapping.{column}", f"{message}; map one of them to another property")
