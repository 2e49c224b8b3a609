"""Definitions that an apply does not take over, as a source of theirs cannot be asked or does not fit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.definition.definitions import Definitions
from headrace.domain.vocabulary import AppId, ModelId, SourceId
from headrace.errors import (
    ErrorCode,
    Fault,
)
from headrace.ports import FeedPlan
from headrace.steps.applied_document import AppliedDocument
from headrace.steps.described import Described, Feed

Named = tuple[str, str]
"""Kind and id of a definition."""


def left_out_of(
    definitions: Definitions, feeds: Collection[Feed], models: Collection[ModelId], kept: Collection[ModelId]
) -> frozenset[Named]:
    """Sources and models that are not applied as they are written.

    Args:
        feeds, models: what is applied.
        kept: models that stay as they were applied before.
    """
    read = {source for source, _ in feeds}
    sources = {("sources", i) for i, s in definitions.sources.items() if i not in read or s.model in kept}
    return frozenset(sources | {("models", m) for m in definitions.models if m not in models})


def applied_bodies(
    written: Mapping[str, Mapping[str, Any]], before: Mapping[Named, Any], left_out: Collection[Named]
) -> dict[Named, Any]:
    """The definitions to publish: what is left out stays as it was, or is not there, so that the next plan
    has it among what is to be done."""
    bodies = {(kind, id_): body for kind, found in written.items() for id_, body in found.items()}
    kept = {name: before[name] for name in left_out if name in before}
    return {name: body for name, body in bodies.items() if name not in left_out} | kept


def without_consequences(
    definitions: Definitions, faults: Sequence[Fault], described: Described
) -> Iterator[Fault]:
    """The faults, but for those that only say that an app could not be reached."""
    files = set()
    for source_id, source in definitions.sources.items():
        if source_id not in described.facts and described.unavailable.keys() & set(source.app_ids):
            files.add(definitions.file("models", source.model))
            files |= {
                definitions.file("sources", i) for i, _ in definitions.sources_of(ModelId(source.model))
            }
    return (fault for fault in faults if not (fault.file in files and fault.message.startswith("left out")))


def unavailable_faults(
    definitions: Definitions, described: Described, left_out: Collection[Named]
) -> Iterator[Fault]:
    """One for each app, which says what comes of it."""
    for app_id, why in sorted(described.unavailable.items()):
        sources = [i for i, s in definitions.sources.items() if app_id in s.app_ids]
        missing = sorted(i for i in sources if ("sources", i) in left_out)
        what = f"; left out until it can be: {', '.join(missing)}" if missing else ""
        where = definitions.file("apps", app_id)
        yield Fault(where, "", f"cannot be reached: {why}{what}", ErrorCode.SOURCE_UNAVAILABLE)


def kept_models(previous: AppliedDocument, definitions: Definitions, lacking: set[SourceId]) -> set[ModelId]:
    """Models that stay whole as they were applied, since a source of theirs does not compile: without it,
    what the stores have of it would be dropped for a misspelt column."""
    of_source = {plan.source.id: plan.source.model for plan in previous.feeds}
    return {of_source[i] for i in lacking} & definitions.models.keys()


def told_as_kept(faults: Sequence[Fault], definitions: Definitions, kept: set[ModelId]) -> tuple[Fault, ...]:
    """The faults of sources of these models say what came of them."""
    models = {
        definitions.file("sources", i): s.model for i, s in definitions.sources.items() if s.model in kept
    }
    return tuple(
        replace(fault, message=f"{fault.message}; model {models[fault.file]} is left as it was applied")
        if fault.file in models
        else fault
        for fault in faults
    )


def plans_of(
    previous: AppliedDocument, definitions: Definitions, models: set[ModelId]
) -> dict[tuple[SourceId, AppId], FeedPlan]:
    """The feeds of these models as they were applied, that are still defined."""
    feeds = set(definitions.feeds())
    return {
        feed: plan for feed, plan in previous.plans.items() if plan.source.model in models and feed in feeds
    }
