"""What is kept of an apply, and what the next one finds in it."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from headrace import logs
from headrace.domain.shape import ModelShape, load_json
from headrace.domain.vocabulary import AppId, SourceId
from headrace.ports import FeedPlan, TableFacts

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Drop:
    """Rows that a source has left in the stores: of an app that it is no longer read from, or whose
    customer is another one now."""

    source_id: SourceId
    app_id: AppId
    customer: str


@dataclass(frozen=True, slots=True)
class AppliedDocument:
    """What is kept of an apply: the shapes, the plans, the catalogues' facts that they were compiled
    from, the URLs of the apps as written, and what is still to be dropped from the stores."""

    models: tuple[ModelShape, ...]
    feeds: tuple[FeedPlan, ...]
    facts: dict[SourceId, TableFacts]
    urls: dict[AppId, str]
    drops: tuple[Drop, ...] = ()

    @property
    def plans(self) -> dict[tuple[SourceId, AppId], FeedPlan]:
        return {(plan.source.id, plan.app_id): plan for plan in self.feeds}


def readable(text: str) -> AppliedDocument | None:
    """What was applied; None when another version of Headrace wrote it: then nobody knows what its feeds
    have made of their rows, and they begin anew."""
    try:
        return load_json(AppliedDocument, text)
    except ValidationError as error:
        log.warning("applied by another version: every feed begins anew", faults=error.error_count())
        return None


def drops_of(previous: AppliedDocument | None, document: AppliedDocument) -> tuple[Drop, ...]:
    """Rows that no reconciliation will remove by itself: the records of a customer whom no feed of the
    source has any more (the breaker would hold so many back), and the staged rows of an app that is gone."""
    if previous is None:
        return ()
    plans = document.plans
    served = {(source_id, plan.customer) for (source_id, _), plan in plans.items() if plan.source.primary}
    left = {
        Drop(source_id, app_id, plan.customer)
        for (source_id, app_id), plan in previous.plans.items()
        if plan.customer is not None
    }
    primary = {model.primary.id for model in document.models}
    many = {source.id for model in document.models for source in model.sources if source.many_apps}
    found = [
        drop
        for drop in left | set(previous.drops)
        if drop.source_id in document.facts
        and (
            (drop.source_id, drop.customer) not in served
            if drop.source_id in primary
            else drop.source_id in many and (drop.source_id, drop.app_id) not in plans
        )
    ]
    return tuple(sorted(found, key=lambda d: (d.source_id, d.app_id, d.customer)))
