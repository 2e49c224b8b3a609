"""What the catalogues of the apps say of the sources that read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from headrace.definition.definitions import Definitions
from headrace.domain.vocabulary import AppId, SourceId
from headrace.errors import Fault, HeadraceError, RelationUnavailableError, RetryableError
from headrace.ports import Readers, Relation, TableFacts

Feed = tuple[SourceId, AppId]


@dataclass(slots=True)
class Described:
    """What every source's relation is, where it could be asked.

    Attributes:
        facts: of each source, as its first app has it.
        by_feed: of each source in each of its apps.
        faults: of sources that do not fit their database.
        unavailable: apps that cannot be reached, and why; nothing is known of their sources.
    """

    facts: dict[SourceId, TableFacts] = field(default_factory=dict)
    by_feed: dict[Feed, TableFacts] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unavailable: dict[AppId, str] = field(default_factory=dict)


def describe(definitions: Definitions, readers: Readers) -> Described:
    """Every source was asked for; an app that cannot be reached only once."""
    found = Described()
    refused: dict[tuple[AppId, str, str], list[SourceId]] = {}
    for source_id, source in sorted(definitions.sources.items()):
        relation = Relation(table=source.table, query=source.query)
        for app_id in source.app_ids:
            if app_id in found.unavailable:
                continue
            try:
                with readers.lend(app_id) as reader:
                    facts = reader.describe(relation)
            except RelationUnavailableError as error:
                refused.setdefault((app_id, _without(app_id, error), error.code), []).append(source_id)
            except RetryableError as error:
                found.unavailable[app_id] = _without(app_id, error)
            except HeadraceError as error:
                refused.setdefault((app_id, _without(app_id, error), error.code), []).append(source_id)
            else:
                found.by_feed[source_id, app_id] = facts
                found.facts.setdefault(source_id, facts)
    found.faults += _refusals(definitions, refused)
    return found


def _refusals(
    definitions: Definitions, refused: dict[tuple[AppId, str, str], list[SourceId]]
) -> Iterator[Fault]:
    """What is said of several sources alike is said of their app, once."""
    for (app_id, why, code), sources in refused.items():
        if len(sources) > 1:
            yield Fault(definitions.file("apps", app_id), "", why, code)
        else:
            yield Fault(definitions.file("sources", sources[0]), "", f"app {app_id}: {why}", code)


def _without(app_id: AppId, error: HeadraceError) -> str:
    """The message of an adapter, which begins with the app's name."""
    return str(error).removeprefix(f"{app_id}: ")
