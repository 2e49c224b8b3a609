"""Which sources some properties of a record come from."""

from __future__ import annotations

from collections.abc import Collection

from headrace.domain.shape import ModelShape, SourceShape


def feeding_sources(model: ModelShape, properties: Collection[str]) -> tuple[SourceShape, ...]:
    """The sources that the properties need, in dependency order: those that feed them, those that feed what
    these are mapped to, and the primary."""
    wanted, needed = set(properties), []
    for source in reversed(model.sources[1:]):
        if wanted & {p.name for p in source.properties} and source.mapping is not None:
            needed.append(source)
            wanted.add(source.mapping.property)
    return (model.primary, *reversed(needed))
