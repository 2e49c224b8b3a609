"""`headrace verify`: every model compared with its sources, in this one process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import DataSourceId, FeedId, ModelId, SourceId
from headrace.errors import (
    HeadraceError,
    InvariantError,
    with_code,
)
from headrace.ports import DifferenceKind
from headrace.steps.given_rows import PAGE_ROWS, GivenFeed, GivenRows, SetAsideAfter
from headrace.steps.limits import Progress, no_progress
from headrace.steps.merge_report import MergeReport, MergeState
from headrace.steps.verify import CatchUp, ModelReport, NotRead, VerifyModel
from headrace.steps.verify_sample import Sample
from headrace.wiring import Application
from workers.sync import LOCK_PAUSE_S, run_sync


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to verify.

    Attributes:
        models: empty: all. sources: only what these feed; empty: everything.
        sample: None: every record.
        limit: differences that are looked for, and rejected rows that are shown, in a model.
    """

    models: Sequence[ModelId] = ()
    sources: Sequence[SourceId] = ()
    sample: Sample | None = None
    limit: int = 1_000


@dataclass(frozen=True, slots=True)
class Failed:
    """A model that could not be verified."""

    model: ModelId
    error: str


def run_verify(
    app: Application, wanted: Wanted, progress: Progress = no_progress
) -> Iterator[ModelReport | Failed]:
    """One model after the other; one that fails does not stop the others. Moves under way end first, where
    they can: until then the customers' records are in two places, and whole in one."""
    if app.moves.under_way():
        run_sync(app, trigger="verify", progress=progress)
    for model in app.catalogue().models.values():
        properties = _properties(model, wanted)
        if not properties or (wanted.models and model.id not in wanted.models):
            continue
        try:
            _merge_what_waits(app, model.id)
            step = _step(app, model, properties, wanted, progress)
            yield step.run() if wanted.sample is None else step.run_sample(wanted.sample)
        except InvariantError:
            raise
        except HeadraceError as error:
            yield Failed(model.id, with_code(error))


def _properties(model: ModelShape, wanted: Wanted) -> frozenset[str]:
    """Those that the wanted sources feed."""
    if not wanted.sources:
        return frozenset(c.name for c in model.columns)
    fed = [p.name for s in model.sources for p in s.properties if s.id in wanted.sources]
    return frozenset(fed) | ({c.name for c in model.key} if fed else set())


def _step(
    app: Application, model: ModelShape, properties: frozenset[str], wanted: Wanted, progress: Progress
) -> VerifyModel:
    given = GivenRows(
        model=model,
        properties=properties,
        feeds=_feeds(app, model.id),
        targets=[target for target, of_model in app.targets() if of_model == model.id],
        readers=app.readers,
        routes=app.routes,
        stores=app.stores,
        progress=progress,
    )
    return VerifyModel(
        given=given,
        stores=app.stores,
        expectations=app.expectations,
        catch_up=_catching_up(app, model.id),
        kinds=_kinds(model, given, wanted),
        limit=wanted.limit,
    )


def _kinds(model: ModelShape, given: GivenRows, wanted: Wanted) -> frozenset[DifferenceKind]:
    """Which records there are is the primary source's word; where it ignores deletes, more may be there."""
    if wanted.sources and model.primary.id not in wanted.sources:
        return frozenset({"differs"})
    if any(feed.plan.deletes == "ignore" for feed in given.feeds if feed.source.primary):
        return frozenset({"differs", "missing"})
    return frozenset({"differs", "missing", "ghost"})


def _feeds(app: Application, model: ModelId) -> list[GivenFeed]:
    catalogue = app.catalogue()
    return [
        GivenFeed(
            feed_id=feed.feed_id,
            plan=catalogue.feed(feed.source_id, feed.app_id),
            set_aside=_set_aside(app, feed.feed_id),
        )
        for feed in app.status.feed_status()
        if feed.model_id == model
    ]


def _set_aside(app: Application, feed_id: FeedId) -> SetAsideAfter:
    return lambda after: app.feeds.rows_set_aside(feed_id, after=after, limit=PAGE_ROWS)


def _merge_what_waits(app: Application, model: ModelId) -> None:
    """Whatever can be merged is, by us or by whoever holds the lock."""
    for target in app.targets():
        if target[1] == model:
            while app.merge(*target).state is MergeState.LOCKED:
                time.sleep(LOCK_PAUSE_S)


def _catching_up(app: Application, model: ModelId) -> CatchUp:
    def catch_up(sources: Sequence[SourceId]) -> Mapping[SourceId, NotRead]:
        """Polls begin now; a paused feed, and one that was never read to its end, stays as it is."""
        not_read = _left_alone(app, sources)
        readable = [source for source in sources if source not in not_read]
        merged: Mapping[tuple[DataSourceId, ModelId], MergeReport] = {}
        if readable:
            report = run_sync(app, sources=readable, trigger="verify")
            not_read |= {f.source_id: NotRead(f"{f.source_id}: {f.error}") for f in report.feeds if f.error}
            merged = report.merges
        mine = [merged.get(target) for target in app.targets() if target[1] == model]
        if all(report is not None and report.state is MergeState.DRAINED for report in mine):
            return not_read  # what waits now was journalled after our polls
        for feed in app.status.feed_status():
            if feed.model_id == model and feed.pending_batches:
                why = feed.merge_error or "its batches wait to be merged"
                not_read.setdefault(feed.source_id, NotRead(f"{feed.source_id}: {why}"))
        return not_read

    return catch_up


def _left_alone(app: Application, sources: Sequence[SourceId]) -> dict[SourceId, NotRead]:
    """The sources that are not to be polled for this."""
    found: dict[SourceId, NotRead] = {}
    for feed in app.status.feed_status():
        if feed.source_id in sources and feed.paused:
            found[feed.source_id] = NotRead(f"{feed.source_id} is paused: {feed.paused_reason}")
        elif feed.source_id in sources and not feed.first_stream_done:
            why, fails = f"{feed.source_id} was never read to its end", feed.last_error
            found[feed.source_id] = NotRead(f"{why}: {fails}") if fails else NotRead(why, begun=True)
    return found


def feed_names(app: Application) -> dict[FeedId, tuple[str, str]]:
    """Source and app of each feed."""
    return {feed.feed_id: (feed.source_id, feed.app_id) for feed in app.status.feed_status()}
