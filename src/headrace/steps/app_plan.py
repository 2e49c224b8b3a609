"""A source's plan, as each of the apps that it is read from needs it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

from headrace.domain.vocabulary import SourceId
from headrace.ports import FeedPlan, TableFacts
from headrace.steps.applied_document import AppliedDocument
from headrace.steps.described import Feed
from headrace.steps.drift import used_columns


def of_their_apps(
    plans: Mapping[Feed, FeedPlan],
    facts: Mapping[SourceId, TableFacts],
    by_feed: Mapping[Feed, TableFacts],
    previous: AppliedDocument | None,
) -> dict[Feed, FeedPlan]:
    """The plans, compiled from the facts of one app of each source, with what its own app makes of each: the
    columns that polls compare with as they are now; of an app that cannot be asked, as they were."""
    old = previous.plans if previous else {}
    return {
        feed: _of_its_app(plan, facts[feed[0]], by_feed.get(feed), old.get(feed))
        for feed, plan in plans.items()
    }


def _of_its_app(
    plan: FeedPlan, compiled_from: TableFacts, facts: TableFacts | None, old: FeedPlan | None
) -> FeedPlan:
    if facts is not None:
        key = plan.read.key
        return replace(
            plan,
            expected=used_columns(plan, facts),
            key_is_unique=facts.identifies(key),
            chunkable=plan.chunkable and _key_order(facts, key) == _key_order(compiled_from, key),
        )
    if old is None or old.read.key != plan.read.key:
        return plan
    expected = tuple(column for column in old.expected if column.name in plan.read.columns)
    return replace(plan, expected=expected, key_is_unique=old.key_is_unique)


def _key_order(facts: TableFacts, key: Sequence[str]) -> list[tuple[object, ...]]:
    columns = [facts.column(name) for name in key]
    return [(column.type, column.portable_order) for column in columns if column is not None]


def fingerprint(plan: FeedPlan) -> str:
    used = [(column.name, column.native_type) for column in plan.expected]
    return sha256(json.dumps([used, plan.key_is_unique]).encode()).hexdigest()
