"""Make the definitions of a config directory the ones that workers run by.

First they are published, in one transaction that takes the lease from every feed whose reading changes;
then the tables of each data source follow. Batches carry the fingerprint of the shape they were cut by
and are merged only into tables of that shape, so that a crash in between only makes them wait until
apply is run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from headrace import logs
from headrace.definition.compiled import Compiled, compile_definitions
from headrace.definition.definitions import Definitions
from headrace.domain.record_event import EXCHANGE
from headrace.domain.shape import ModelShape, dump_json
from headrace.domain.vocabulary import DataSourceId, FeedId, ModelId, SourceId
from headrace.errors import (
    Fault,
    HeadraceError,
    StoreUnavailableError,
    with_code,
)
from headrace.ports import (
    AppliedFeed,
    FeedPlan,
    FeedScope,
    Readers,
    RecordStore,
    Registry,
    Residents,
    Stores,
    TableChange,
)
from headrace.steps.app_plan import fingerprint, of_their_apps
from headrace.steps.applied_document import AppliedDocument, Drop, drops_of, readable
from headrace.steps.described import Feed, describe
from headrace.steps.key_warning import key_warnings
from headrace.steps.left_out import (
    applied_bodies,
    kept_models,
    left_out_of,
    plans_of,
    told_as_kept,
    unavailable_faults,
    without_consequences,
)
from headrace.steps.reread_reason import reread_reason

log = logs.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreChanges:
    """What changes, or would, in the tables of one data source; `error` when it could not."""

    data_source_id: DataSourceId
    changes: tuple[TableChange, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyReport:
    """What an apply did, or a plan would do.

    Attributes:
        version: the applied version; 0 for a plan.
        faults: of sources that do not fit their database; they are left as they were, or left out.
        unavailable: a fault for each app that cannot be reached; its sources likewise.
        warnings: of what is applied, and may not be what was meant.
        reread: the feeds that begin anew, and why.
        refilled: data sources that are another database now, into which everything is read again.
        left_out: definitions (kind and id) that are not applied as they are written.
    """

    version: int
    faults: tuple[Fault, ...]
    stores: tuple[StoreChanges, ...]
    unavailable: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()
    reread: Mapping[Feed, str] = field(default_factory=dict)
    refilled: tuple[DataSourceId, ...] = ()
    left_out: frozenset[tuple[str, str]] = frozenset()

    @property
    def failed(self) -> bool:
        return bool(self.faults or self.unavailable) or any(s.error for s in self.stores)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compilation:
    document: AppliedDocument
    bodies: Mapping[tuple[str, str], Any]
    faults: tuple[Fault, ...]
    unavailable: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    reread: Mapping[Feed, str]
    refilled: tuple[DataSourceId, ...]
    left_out: frozenset[tuple[str, str]]

    def report(self, version: int, stores: tuple[StoreChanges, ...]) -> ApplyReport:
        return ApplyReport(
            version=version,
            stores=stores,
            faults=self.faults,
            unavailable=self.unavailable,
            warnings=self.warnings,
            reread=self.reread,
            refilled=self.refilled,
            left_out=self.left_out,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyStep:
    """Plans and applies definitions. `readers` and `stores` are those of the definitions to apply.

    Attributes:
        registered: the schema of each data source that has no file: its tables follow too.
        residents: what becomes of customers who have records elsewhere than the definitions lead them.
    """

    registry: Registry
    readers: Readers
    stores: Stores
    registered: Mapping[DataSourceId, str] = field(default_factory=dict)
    residents: Residents = Residents.REFUSE

    def plan(self, definitions: Definitions) -> ApplyReport:
        """What `apply` would do; changes nothing."""
        return self._planned(definitions, self._compiled(definitions))

    def plan_and_feeds(self, definitions: Definitions) -> tuple[ApplyReport, tuple[FeedPlan, ...]]:
        """Both, from one look at the sources."""
        compilation = self._compiled(definitions)
        return self._planned(definitions, compilation), compilation.document.feeds

    def feeds(self, definitions: Definitions) -> tuple[FeedPlan, ...]:
        """The feeds that these definitions make, but those whose source cannot be asked or does not fit."""
        return self._compiled(definitions).document.feeds

    def apply(self, definitions: Definitions) -> ApplyReport:
        """The definitions are the ones that workers run by, and the tables have their shape.

        A source or data source that cannot follow is reported, and does not stop the others.
        """
        compilation = self._compiled(definitions)
        document, feeds = compilation.document, _feeds(definitions, compilation)
        version = self.registry.publish(
            compilation.bodies, dump_json(document), feeds, residents=self.residents
        )
        stores = tuple(
            self._store_changes(definitions, data_source_id, document, dry=False)
            for data_source_id in self._data_sources(definitions)
        )
        if document.drops and not any(store.error for store in stores):
            # Done only now: what is still in the document is done by the next apply.
            done = replace(document, drops=())
            again = tuple(replace(feed, reread=False) for feed in feeds)
            version = self.registry.publish(
                compilation.bodies, dump_json(done), again, residents=self.residents
            )
        return compilation.report(version, stores)

    def _planned(self, definitions: Definitions, compilation: _Compilation) -> ApplyReport:
        stores = tuple(
            self._store_changes(definitions, data_source_id, compilation.document, dry=True)
            for data_source_id in self._data_sources(definitions)
        )
        return compilation.report(0, stores)

    def _data_sources(self, definitions: Definitions) -> list[DataSourceId]:
        return sorted(definitions.data_sources.keys() | self.registered.keys())

    def _compiled(self, definitions: Definitions) -> _Compilation:
        text = self.registry.compiled()
        previous = None if text is None else readable(text)
        described = describe(definitions, self.readers)
        facts = dict(described.facts)
        warnings = tuple(key_warnings(definitions, facts))
        compiled, wrong = compile_definitions(definitions, facts)
        old = previous.facts if previous else {}
        lacking = {i for i in old if i in definitions.sources and i not in _sources(compiled)}
        if lacking:
            # What cannot be asked or does not fit stays as it was applied: its feed says what is wrong.
            facts |= {i: old[i] for i in lacking}
            compiled, _ = compile_definitions(definitions, facts)
        told = (*described.faults, *without_consequences(definitions, wrong, described))
        models, kept = dict(compiled.models), set[ModelId]()
        plans = of_their_apps(compiled.feeds, facts, described.by_feed, previous)
        if previous is not None and (
            kept := kept_models(previous, definitions, lacking - _sources(compiled))
        ):
            told = told_as_kept(told, definitions, kept)
            models |= {m.id: m for m in previous.models if m.id in kept}
            plans = {feed: plan for feed, plan in plans.items() if plan.source.model not in kept}
            plans |= plans_of(previous, definitions, kept)
            facts |= {source: old[source] for (source, _), plan in plans.items() if plan.source.model in kept}
        document = AppliedDocument(
            models=tuple(models.values()),
            feeds=tuple(plans.values()),
            facts={source: facts[source] for source, _ in plans},
            urls={i: app.url.template for i, app in definitions.apps.items()},
        )
        document = replace(document, drops=drops_of(previous, document))
        before = self.registry.bodies()
        left_out = left_out_of(definitions, plans, models.keys(), kept)
        return _Compilation(
            document=document,
            bodies=applied_bodies(definitions.bodies, before, left_out),
            faults=told,
            unavailable=tuple(unavailable_faults(definitions, described, left_out)),
            warnings=warnings,
            reread=_reread(previous, document)
            if text is None or previous
            else dict.fromkeys(document.plans, "another version of Headrace applied it"),
            refilled=_refilled(before, definitions),
            left_out=left_out,
        )

    def _store_changes(
        self,
        definitions: Definitions,
        data_source_id: DataSourceId,
        document: AppliedDocument,
        *,
        dry: bool,
    ) -> StoreChanges:
        found = definitions.data_sources.get(data_source_id)
        schema = self.registered[data_source_id] if found is None else found.schema_id
        models = [m for m in document.models if definitions.models[m.id].schema_id == schema]
        try:
            store = self.stores.open(data_source_id)
            changes = store.pending_changes(models) if dry else store.prepare(models)
            if not dry:
                _drop_left_rows(store, models, document.drops)
                if store.outbox is not None:
                    sinks = [EXCHANGE, *sorted(definitions.webhooks)]
                    store.outbox.begin(sinks, [model.id for model in models])
        except HeadraceError as error:
            log.error(
                "data source not prepared", data_source=data_source_id, error=str(error), code=error.code
            )
            return StoreChanges(data_source_id=data_source_id, error=with_code(error))
        return StoreChanges(data_source_id=data_source_id, changes=changes)


def _sources(compiled: Compiled) -> set[SourceId]:
    return {source for source, _ in compiled.feeds}


def _reread(previous: AppliedDocument | None, document: AppliedDocument) -> dict[Feed, str]:
    """Feeds that were applied before and now read something else, or make something else of it; and why."""
    if previous is None:
        return {}
    old, urls = previous.plans, previous.urls
    found = {
        feed: reread_reason(plan, old[feed], same_url=urls.get(plan.app_id) == document.urls[plan.app_id])
        for feed, plan in document.plans.items()
        if feed in old
    }
    return {feed: why for feed, why in found.items() if why is not None}


def _refilled(before: Mapping[tuple[str, str], Any], definitions: Definitions) -> tuple[DataSourceId, ...]:
    """Data sources that were applied as another database: their stores have nothing of what was read."""
    place = ("type", "url", "namespace")
    return tuple(
        data_source_id
        for data_source_id in sorted(definitions.data_sources)
        if (old := before.get(("data_sources", data_source_id))) is not None
        and [old.get(key) for key in place]
        != [definitions.bodies["data_sources"][data_source_id].get(key) for key in place]
    )


def _drop_left_rows(store: RecordStore, models: Sequence[ModelShape], drops: Sequence[Drop]) -> None:
    """The rows are gone from this store, whoever held the model's lock before."""
    for model in models:
        sources = {source.id: source for source in model.sources}
        own = [drop for drop in drops if drop.source_id in sources]
        if not own:
            continue
        with store.merging(model) as transaction:
            if transaction is None:
                raise StoreUnavailableError(f"model {model.id} is being merged; run `headrace apply` again")
            for drop in own:
                scope = FeedScope(
                    feed_id=FeedId(""),
                    app_id=drop.app_id,
                    source=sources[drop.source_id],
                    customer=drop.customer,
                )
                transaction.drop_customer(scope, drop.customer, 0)
            transaction.recompute()


def _feeds(definitions: Definitions, compilation: _Compilation) -> tuple[AppliedFeed, ...]:
    document, feeds = compilation.document, []
    for (source_id, app_id), plan in document.plans.items():
        schedule = definitions.sources[source_id].schedule
        feeds.append(
            AppliedFeed(
                source_id=source_id,
                app_id=app_id,
                model_id=plan.source.model,
                fingerprint=fingerprint(plan),
                shape_fingerprint=plan.shape_fingerprint,
                every_s=schedule.every.seconds if schedule.every else None,
                cron=schedule.cron,
                reconcile="full" if plan.reconcile_full else "keys",
                reconcile_every_s=schedule.reconciled_every.seconds,
                paused=schedule.paused,
                reread=(source_id, app_id) in compilation.reread,
            )
        )
    return tuple(feeds)
