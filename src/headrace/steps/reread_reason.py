"""Why a feed begins anew when other definitions are applied."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.ports import FeedPlan
from headrace.steps.drift import means_the_same


def reread_reason(plan: FeedPlan, old: FeedPlan, *, same_url: bool) -> str | None:
    """What it reads, or makes of its rows, that is otherwise than before; None: nothing is."""
    reasons = list(_reasons(plan, old)) + ([] if same_url else ["the URL of its app is another one"])
    return "; ".join(reasons) or None


def _reasons(plan: FeedPlan, old: FeedPlan) -> Iterator[str]:
    if plan.shape_fingerprint != old.shape_fingerprint:
        yield "what is kept of its rows is something else"
    if plan.read.relation != old.read.relation:
        yield "it reads another table or query"
    if plan.read.cursor != old.read.cursor:
        yield "its cursor is another column"
    if plan.read.time_zone != old.read.time_zone:
        yield "its time zone is another one"
    if (plan.customer, plan.customer_column) != (old.customer, old.customer_column):
        yield "its customer is another one"
    if (plan.visibility_group, plan.schema) != (old.visibility_group, old.schema):
        yield "its records belong to another visibility group or schema"
    if plan.deleted_column != old.deleted_column:
        yield "another column marks its deleted rows"
    if plan.indexed != old.indexed:
        yield "other sources are mapped to other properties of it"
    before = {column.name: column for column in old.expected}
    for column in plan.expected:
        if column.name in before and not means_the_same(plan, before[column.name], column):
            yield f"column {column.name} is of another type"
