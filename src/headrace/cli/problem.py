"""What is in the way, as it is told on stderr: a line for each database or definition, and how to mend it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import typer

from headrace.errors import Fault, code_apart
from headrace.logs import scrubbed

if TYPE_CHECKING:
    from headrace.definition.definitions import Definitions
    from headrace.domain.vocabulary import DataSourceId
    from headrace.steps.apply import ApplyReport
    from workers.sync import SyncReport

_MENDS: Final = (
    (r"is the server running|did you mean|\?$", ""),
    (r"refused|can't connect|no such file or directory", "is it running, and are host and port right?"),
    (
        r"name or service not known|resolve|translate host name|getaddrinfo|nodename nor servname",
        "is the host's name right, and known on this machine?",
    ),
    (r"timed? ?out|timeout expired", "does a firewall let this machine through?"),
    (r"unable to open database file", "is the file there, and may it be read and written?"),
)
"""What to look at, by words of servers and drivers; the first that fits."""


def with_mend(message: str) -> str:
    """The message, and what to look at where the driver does not say so itself."""
    for words, mend in _MENDS:
        if re.search(words, message, re.IGNORECASE):
            return f"{message}; {mend}" if mend else message
    return message


def faults_of(definitions: Definitions, report: ApplyReport) -> list[Fault]:
    """What an apply left out, or a plan would: apps, sources and data sources, one fault each."""
    stores = [
        Fault(_where(definitions, s.data_source_id), "", *code_apart(s.error))
        for s in report.stores
        if s.error
    ]
    found = (*report.unavailable, *report.faults, *stores)
    return [replace(f, message=with_mend(f.message)) for f in found]


def _where(definitions: Definitions, data_source_id: DataSourceId) -> str:
    """The data source's file, if it has one."""
    if data_source_id in definitions.data_sources:
        return definitions.file("data_sources", data_source_id)
    return f"data source {data_source_id}"


def tell_faults(definitions: Definitions, report: ApplyReport) -> None:
    """Warnings, and what was left out, a line each on stderr."""
    warnings = [replace(f, message=f"warning: {f.message}") for f in report.warnings]
    _tell(f"{fault} [{fault.code}]" for fault in (*warnings, *faults_of(definitions, report)))


def tell_failures(report: SyncReport, *, told: Collection[Fault] = ()) -> None:
    """What a sync could not read or merge, each once, but for what was told already."""
    known = [fault.message for fault in told]
    _tell(line for why, line in _failures(report) if not any(why in message for message in known))


def _failures(report: SyncReport) -> Iterator[tuple[str, str]]:
    """The reason, and the line that tells it: of an app or data source for all that wait for it."""
    sources: dict[tuple[str, str], list[str]] = {}
    for feed in report.feeds:
        if feed.error:
            why = feed.error.removeprefix(f"{feed.app_id}: ")
            sources.setdefault((feed.app_id, why), []).append(feed.source_id)
    for (app_id, why), names in sources.items():
        yield code_apart(why)[0], _mended(f"{_listed(names)}: app {app_id}: {why}")
    stores = {(target, error) for (target, _), merge in report.merges.items() for error in merge.errors}
    for target, error in sorted(stores):
        named = error if f"data source {target}: " in error else f"data source {target}: {error}"
        yield code_apart(error)[0], _mended(named)


def _mended(text: str) -> str:
    """What to look at stands before the code."""
    message, code = code_apart(text)
    return with_mend(message) if code is None else f"{with_mend(message)} [{code}]"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(scrubbed(line), err=True)
