"""`headrace verify`: the records of the data sources compared with what the sources give."""

from __future__ import annotations

import json as jsons
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from headrace.cli.options import Config, Json

if TYPE_CHECKING:
    from headrace.domain.shape import ModelShape
    from headrace.domain.vocabulary import FeedId
    from headrace.ports import RejectedRow
    from headrace.steps.verify import Found, ModelReport
    from headrace.wiring import Application
    from workers.verify import Failed

Names = Mapping[str, tuple[str, str]]
"""Source and app by feed."""

SHOWN_LATE: Final = 3
"""Of records that are behind, in a model: beside live writers there are many, and all will come."""
SHOWN_UNJUDGED: Final = 10
SHOWN_REJECTED: Final = 20
_LIMIT: Final = 1_000
_SEEDS: Final = 1_000_000


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Look")(verify)


def verify(
    sample: Annotated[
        int | None,
        typer.Option("--sample", metavar="N", min=1, help="Only N records of each model, chosen at random."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="S", help="Choose the same records as the last time.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", metavar="ID", help="Only what it feeds; may be repeated.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="ID", help="Only this model; may be repeated.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Differences of a model to look for, at most.")
    ] = _LIMIT,
    config: Config = None,
    json: Json = False,
) -> None:
    """Compare every record with its sources, property by property; exit with 1 if any differs, or
    cannot be judged because its source is paused or fails.

    A change that was not read or merged yet is no difference: where something differs, its sources are
    polled and merged before it is looked at again.

    Example: headrace verify --sample 1000
    """
    from headrace.cli import screen
    from headrace.cli.session import applied, named
    from headrace.cli.sync_report import watched
    from headrace.domain.vocabulary import ModelId, SourceId
    from headrace.steps.verify_sample import Sample
    from workers.verify import Failed, Wanted, feed_names, run_verify

    chosen = secrets.randbelow(_SEEDS) if seed is None else seed
    with applied(config) as app:
        catalogue = app.catalogue()
        sources = {source_id: source_id for source_id, _ in catalogue.plans}
        for given in source or []:
            named(sources, given, word="source", directory="the applied definitions")
        for given in model or []:
            named(catalogue.models, given, word="model", directory="the applied definitions")
        wanted = Wanted(
            models=[ModelId(m) for m in model or []],
            sources=[SourceId(s) for s in source or []],
            sample=None if sample is None else Sample(size=sample, seed=chosen),
            limit=limit,
        )
        with watched() as progress:
            reports = list(run_verify(app, wanted, progress))
        names: Names = {str(feed): place for feed, place in feed_names(app).items()}
        if json:
            screen.print_json(_as_json(app, reports, names, seed=None if sample is None else chosen))
        else:
            _print(app, reports, names, seed=None if sample is None else chosen)
    if any(isinstance(r, Failed) or r.differing or r.unjudged_records for r in reports):
        raise typer.Exit(1)


# --- for people ---------------------------------------------------------------------------------


def _print(
    app: Application, reports: Sequence[ModelReport | Failed], names: Names, *, seed: int | None
) -> None:
    from headrace.cli import screen
    from headrace.logs import scrubbed
    from workers.verify import Failed

    words = (
        "records given",
        "records stored",
        "differ",
        "not judged",
        "behind",
        "rejected rows",
        "held rows",
    )
    columns = [screen.Column("model"), *(screen.Column(word, right=True) for word in words)]
    done = [report for report in reports if not isinstance(report, Failed)]
    screen.print_table(columns, [_summary(report) for report in done])
    if seed is not None:
        screen.print_line(f"A sample; the same one again: --seed {seed}", markup=False)
    for report in reports:
        if isinstance(report, Failed):
            screen.print_line(f"{report.model}: not verified: {scrubbed(report.error)}", markup=False)
            continue
        for line in _lines(app.catalogue().models[report.model], report, names):
            screen.print_line(line, markup=False)
    mending = dict.fromkeys(source for report in done for source in report.mending)
    if mending:
        commands = " && ".join(f"headrace reconcile {source} --full" for source in mending)
        screen.print_line(f"This mends what differs: {commands}", markup=False)


def _summary(report: ModelReport) -> list[str]:
    differing = f"{len(report.differing):,}" + (" or more" if report.stopped else "")
    numbers = (report.expected, report.stored)
    others = (report.unjudged_records, report.behind_records, report.rejected_rows, sum(report.held.values()))
    return [report.model, *(f"{n:,}" for n in numbers), differing, *(f"{n:,}" for n in others)]


def _lines(model: ModelShape, report: ModelReport, names: Names) -> Iterator[str]:
    for found in report.differing:
        yield from _record_lines(model, found)
    for found in report.unjudged[:SHOWN_UNJUDGED]:
        yield f"not judged: {_where(model, found)} differs, but {found.why}"
    if report.unjudged_records > SHOWN_UNJUDGED:
        yield f"not judged: {report.unjudged_records - SHOWN_UNJUDGED:,} more"
    for found in report.behind[:SHOWN_LATE]:
        yield f"behind: {_where(model, found)}: {found.why}"
    if report.behind_records > SHOWN_LATE:
        yield f"behind: {report.behind_records - SHOWN_LATE:,} more"
    yield from _rejected_lines("rejected", report.rejected, report.rejected_rows, names)
    discarded_rows = sum(map(len, report.discarded.values()))
    yield from _rejected_lines("discarded", report.discarded, discarded_rows, names)
    for feed, rows in report.held.items():
        source = names.get(feed, ("?", "?"))[0]
        confirmed = f"`headrace reconcile {source} --confirm` removes them"
        yield f"held by a breaker, not compared: {rows:,} of {source}; {confirmed}"
    for column in report.read_whole:
        yield f"{column}: no rows can be looked up by it, so its source was read whole"


def _rejected_lines(
    state: str, rejected: Mapping[FeedId, Sequence[RejectedRow]], total: int, names: Names
) -> Iterator[str]:
    shown = [(feed, row) for feed, rows in rejected.items() for row in rows][:SHOWN_REJECTED]
    for feed, row in shown:
        key = ", ".join("null" if part is None else part for part in jsons.loads(row.key))
        yield f"{state}, not compared: {names.get(feed, ('?', '?'))[0]} {key}: {row.reason}"
    if total > len(shown):
        yield f"{state}, not compared: {total - len(shown):,} more"


def _record_lines(model: ModelShape, found: Found) -> Iterator[str]:
    from headrace.cli import screen

    difference = found.difference
    hint = f" ({found.why})" if found.why else ""
    match difference.kind:
        case "missing":
            yield f"{_where(model, found)}: missing from the data source{hint}"
        case "ghost":
            yield f"{_where(model, found)}: in the data source, but no source has it{hint}"
        case _:
            yield f"{_where(model, found)}{hint}"
            for name, value in difference.expected.items():
                says = screen.text_of(_plain(model, name, value))
                has = screen.text_of(_plain(model, name, difference.found[name]))
                yield f"  {name}: sources say {says}, data source has {has} (from {_source(model, name)})"


def _where(model: ModelShape, found: Found) -> str:
    record = found.difference.record
    return f"{model.id} {' '.join(record.key)} of {record.customer} in {record.data_source_id}"


def _source(model: ModelShape, name: str) -> str:
    fed = (s.id for s in model.sources if name in {p.name for p in s.properties})
    return next(fed, "all its sources")


def _plain(model: ModelShape, name: str, value: Any) -> Any:
    """JSON as the value that it is."""
    of_json = any(c.name == name and c.type == "json" for c in model.columns)
    return jsons.loads(value) if of_json and isinstance(value, str) else value


# --- for programs -------------------------------------------------------------------------------


def _as_json(
    app: Application, reports: Sequence[ModelReport | Failed], names: Names, *, seed: int | None
) -> dict[str, Any]:
    """The keys that docs/cli.md documents."""
    from headrace.logs import scrubbed
    from workers.verify import Failed

    models = app.catalogue().models
    return {
        "seed": seed,
        "models": [
            {"model": r.model, "error": scrubbed(r.error)}
            if isinstance(r, Failed)
            else _verified(models[r.model], r, names)
            for r in reports
        ],
    }


def _verified(model: ModelShape, report: ModelReport, names: Names) -> dict[str, Any]:
    def of(feed: str) -> dict[str, str]:
        source, app_id = names.get(feed, ("?", "?"))
        return {"source": source, "app": app_id}

    def rows_of(rejected: Mapping[FeedId, Sequence[RejectedRow]]) -> list[dict[str, Any]]:
        return [
            of(feed) | {"key": jsons.loads(row.key), "code": row.code, "reason": row.reason}
            for feed, rows in rejected.items()
            for row in rows
        ]

    return {
        "model": report.model,
        "error": None,
        "given": report.expected,
        "stored": report.stored,
        "differing": [_difference(model, found) for found in report.differing],
        "mending": list(report.mending),
        "more": report.stopped,
        "unjudged_records": report.unjudged_records,
        "unjudged": [_difference(model, found) for found in report.unjudged],
        "behind_records": report.behind_records,
        "behind": [_difference(model, found) for found in report.behind],
        "rejected_rows": report.rejected_rows,
        "rejected": rows_of(report.rejected),
        "discarded": rows_of(report.discarded),
        "held": [of(feed) | {"rows": rows} for feed, rows in report.held.items()],
        "read_whole": report.read_whole,
    }


def _difference(model: ModelShape, found: Found) -> dict[str, Any]:
    difference = found.difference
    names = dict.fromkeys((*difference.expected, *difference.found))
    return {
        "data_source": difference.record.data_source_id,
        "customer": difference.record.customer,
        "key": difference.record.key,
        "difference": difference.kind,
        "why": found.why,
        "properties": [
            {
                "property": name,
                "source": _source(model, name),
                "expected": _plain(model, name, difference.expected.get(name)),
                "found": _plain(model, name, difference.found.get(name)),
            }
            for name in names
        ],
    }
